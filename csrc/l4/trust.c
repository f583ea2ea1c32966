#include "trust.h"

int lb_listener_trusts(const struct lb_listener_row *listener, const union lb_address *peer)
{
    uint8_t ip[16];
    lb_net_as_v6(peer, ip);
    return lb_listener_trusts_ip(listener, ip);
}
