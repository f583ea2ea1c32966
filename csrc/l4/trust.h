/* Whose word on a connection's first ends is taken. */
#ifndef LB_TRUST_H
#define LB_TRUST_H

#include "../core/net.h"
#include "../table/shm.h"

/* Is the peer in one of the listener's trusted networks? IPv4 inside IPv6 is IPv4. */
int lb_listener_trusts(const struct lb_listener_row *listener, const union lb_address *peer);

/* Likewise of an address that is IPv6 or mapped into it. */
int lb_listener_trusts_ip(const struct lb_listener_row *listener, const uint8_t ip[16]);

#endif
