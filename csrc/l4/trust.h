/* Whose word on a connection's first ends is taken. */
#ifndef LB_TRUST_H
#define LB_TRUST_H

#include "../core/net.h"
#include "../table/shm.h"
#include "networks.h"

/* Is the peer in one of the listener's trusted networks? IPv4 inside IPv6 is IPv4. */
int lb_listener_trusts(const struct lb_listener_row *listener, const union lb_address *peer);

/* Likewise of an address that is IPv6 or mapped into it. */
static inline int lb_listener_trusts_ip(const struct lb_listener_row *listener, const uint8_t ip[16])
{
    uint32_t count = listener->network_count < LB_NETWORKS ? listener->network_count : LB_NETWORKS;
    return lb_networks_have(listener->networks, count, ip);
}

#endif
