/* Bytes that somebody does not take yet. */
#ifndef LB_SENDQ_H
#define LB_SENDQ_H

#include "../l4/relay.h"
#include "l7.h"

/* Is a buffer free for so many bytes, if a side takes none of them? */
int lb_http_can_hold(const struct lb_l7 *l7, size_t bytes);
/* Send bytes to a side; what it does not take is held in flow (a buffer must be free). 0, or -1 when the side failed. */
int lb_http_send_parts(struct lb_l7 *l7, struct lb_side *to, struct lb_flow *flow, const char *a, size_t a_count, const char *b,
                       size_t b_count);
/* The same without TLS, of bytes that the connection's end follows at once (lb_http_is_last): one segment has both. */
int lb_http_send_last(struct lb_l7 *l7, struct lb_side *to, struct lb_flow *flow, const char *a, size_t a_count, const char *b,
                      size_t b_count);
/* Send on what is held: 1 nothing is left, 0 the side takes no more, -1 it failed. */
int lb_http_flush(struct lb_l7 *l7, struct lb_side *to, struct lb_flow *flow);

static inline void lb_http_drop_flow(struct lb_l7 *l7, struct lb_flow *flow)
{
    if (flow->holds != LB_HOLDS_NOTHING)
        lb_relay_drop(l7->ctx, flow);
    flow->pending = 0;
}

#endif
