/* Moving bytes in one direction: source, then buffer or pipe, then destination.
 *
 * Copy: one read into the worker's scratch buffer, one write from it; what the destination refuses goes to a pooled buffer.
 * Splice: source to pipe to destination, without a byte in user space. Dearer for a small message, cheaper for a stream.
 * auto changes to splice when reads keep filling the scratch buffer, and back when little arrives. Nothing is held between
 * messages.
 *
 * A backend that leaves Nagle on and writes an answer in parts waits for our acknowledgement of the first before it sends
 * the second; ours would wait 40 ms for data to ride on (RFC 1122 4.2.3.2, 4.2.3.4). So small answers are acknowledged at
 * once, as long as that is seen to help: every backend starts with a credit, an answer that comes in one part costs one of
 * it, one that comes in more restores it. Backends that answer in one write soon pay nothing. Now and then, twice as rarely
 * each time, one answer goes without, as a trial: if its second part comes as soon all the same, the backend has Nagle off,
 * and the credit is gone until a part comes as late as a delayed acknowledgement. */
#ifndef LB_RELAY_H
#define LB_RELAY_H

#include "plane.h"

enum { LB_STREAMING = 2, LB_ACK_CREDIT = 512, LB_ACK_FIRST_TRIAL = 2048 };

enum lb_ack { LB_ACK_NO, LB_ACK_YES, LB_ACK_TRIAL };

enum lb_pump {
    LB_PUMP_WAIT,    /* nothing to do before the next event */
    LB_PUMP_MORE,    /* its share of the turn is used up: run again */
    LB_PUMP_STARVED, /* a buffer is needed and none is free */
};

/* Move what can be moved; step flow->end. */
__attribute__((warn_unused_result)) enum lb_pump lb_relay_pump(struct lb_plane *plane, struct lb_session *session,
                                                               enum lb_side_name from);

/* Give back what a direction holds. */
void lb_relay_drop(struct lb_plane *plane, struct lb_flow *flow);

#endif
