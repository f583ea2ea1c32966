/* Another protocol on a stream of HTTP/2 (RFC 8441), which its backend has agreed to by 101: what comes of either end is its bytes. It stays in
 * its exchange, since the connection is not its alone. */
#ifndef LB_H2_TUNNEL_H
#define LB_H2_TUNNEL_H

#include "../l7.h"
#include "../verdict.h"

/* As lb_stream_ops has it. */
__attribute__((warn_unused_result)) struct lb_verdict lb_h2_switched(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                     const char *bytes, uint32_t count);

#endif
