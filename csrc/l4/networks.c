#include "networks.h"

#include <string.h>

#include "../core/ip.h"

enum { MAPPED_BITS = 96 };

int lb_network_has(const uint8_t network[16], uint32_t bits, const uint8_t ip[16])
{
    uint32_t whole = bits / 8, rest = bits % 8;
    if (bits > 128 || memcmp(ip, network, whole) != 0 || (bits < MAPPED_BITS && lb_ip_is_v4(ip)))
        return 0;
    return !rest || (ip[whole] ^ network[whole]) >> (8 - rest) == 0;
}

int lb_networks_have(const struct lb_network *networks, uint32_t count, const uint8_t ip[16])
{
    for (uint32_t i = 0; i < count; i++)
        if (lb_network_has(networks[i].ip, networks[i].bits, ip))
            return 1;
    return 0;
}

int lb_networks_admit(const struct lb_network *networks, uint32_t allowed, uint32_t denied, const uint8_t ip[16])
{
    if (lb_networks_have(networks + allowed, denied, ip))
        return 0;
    return !allowed || lb_networks_have(networks, allowed, ip);
}
