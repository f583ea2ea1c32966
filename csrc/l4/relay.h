/* A session's two directions: each a lane (lane.h), with what passes on the ends of connections, and with what the kernel forwards for
 * itself (offload/offload.h). Small responses may need to be acknowledged at once: ack.h. */
#ifndef LB_RELAY_H
#define LB_RELAY_H

#include "session_state.h"

enum lb_pump {
    LB_PUMP_WAIT,    /* nothing to do before the next event */
    LB_PUMP_MORE,    /* its share of the turn is used up: run again */
    LB_PUMP_STARVED, /* a buffer is needed and none is free */
};

/* Move what can be moved; step flow->end. */
__attribute__((warn_unused_result)) enum lb_pump lb_relay_pump(struct lb_worker_context *ctx, struct lb_session *session,
                                                               enum lb_side_name from);

#endif
