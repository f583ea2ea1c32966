#include "trust.h"

#include <string.h>

int lb_listener_trusts(const struct lb_listener_row *listener, const union lb_address *peer)
{
    const struct lb_network *networks = listener->networks;
    uint8_t ip[16];
    lb_net_as_v6(peer, ip);
    for (uint32_t i = 0; i < listener->network_count && i < LB_NETWORKS; i++) {
        uint32_t bits = networks[i].bits, whole = bits / 8, rest = bits % 8;
        if (bits > 128 || memcmp(ip, networks[i].ip, whole) != 0)
            continue;
        if (!rest || (ip[whole] ^ networks[i].ip[whole]) >> (8 - rest) == 0)
            return 1;
    }
    return 0;
}
