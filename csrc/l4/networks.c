#include "networks.h"

#include <string.h>

enum { MAPPED_BITS = 96 };

int lb_networks_have(const struct lb_network *networks, uint32_t count, const uint8_t ip[16])
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    uint32_t least = memcmp(ip, mapped, sizeof mapped) == 0 ? MAPPED_BITS : 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t bits = networks[i].bits, whole = bits / 8, rest = bits % 8;
        if (bits > 128 || bits < least || memcmp(ip, networks[i].ip, whole) != 0)
            continue;
        if (!rest || (ip[whole] ^ networks[i].ip[whole]) >> (8 - rest) == 0)
            return 1;
    }
    return 0;
}

int lb_networks_admit(const struct lb_network *networks, uint32_t allowed, uint32_t denied, const uint8_t ip[16])
{
    if (lb_networks_have(networks + allowed, denied, ip))
        return 0;
    return !allowed || lb_networks_have(networks, allowed, ip);
}
