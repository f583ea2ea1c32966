#include "trust.h"

#include "networks.h"

int lb_listener_trusts_ip(const struct lb_listener_row *listener, const uint8_t ip[16])
{
    uint32_t count = listener->network_count < LB_NETWORKS ? listener->network_count : LB_NETWORKS;
    return lb_networks_have(listener->networks, count, ip);
}

int lb_listener_trusts(const struct lb_listener_row *listener, const union lb_address *peer)
{
    uint8_t ip[16];
    lb_net_as_v6(peer, ip);
    return lb_listener_trusts_ip(listener, ip);
}
