/* Lists of networks, and whether an address is in them. */
#ifndef LB_NETWORKS_H
#define LB_NETWORKS_H

#include "../table/shm.h"

/* Is it in this one? ip: IPv4 mapped into IPv6, which no shorter network of IPv6 has: "::/0" speaks of IPv6 alone. bits: over 128: nothing is. */
int lb_network_has(const uint8_t network[16], uint32_t bits, const uint8_t ip[16]);

/* Is it in one of them? */
int lb_networks_have(const struct lb_network *networks, uint32_t count, const uint8_t ip[16]);

/* May it come? networks: those that may, then those that may not, which count for more. Where any may, nobody else does. */
int lb_networks_admit(const struct lb_network *networks, uint32_t allowed, uint32_t denied, const uint8_t ip[16]);

#endif
