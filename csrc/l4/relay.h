/* Moving bytes in one direction: source, then buffer or pipe, then destination.
 *
 * Copy: one read into the worker's scratch buffer, one write from it; what the destination refuses goes to a pooled buffer.
 * Splice: source to pipe to destination, without a byte in user space. Dearer for a small message, cheaper for a stream.
 * auto changes to splice when reads keep filling the scratch buffer, and back when little arrives. Nothing is held between
 * messages. Small responses may need to be acknowledged at once: ack.h. */
#ifndef LB_RELAY_H
#define LB_RELAY_H

#include "ack.h"
#include "session_state.h"

enum { LB_STREAMING = 2 };

enum lb_pump {
    LB_PUMP_WAIT,    /* nothing to do before the next event */
    LB_PUMP_MORE,    /* its share of the turn is used up: run again */
    LB_PUMP_STARVED, /* a buffer is needed and none is free */
};

/* Move what can be moved; step flow->end. */
__attribute__((warn_unused_result)) enum lb_pump lb_relay_pump(struct lb_worker_context *ctx, struct lb_session *session,
                                                               enum lb_side_name from);

/* Give back what a direction holds. */
void lb_relay_drop(struct lb_worker_context *ctx, struct lb_flow *flow);

#endif
