/* Bodies on their way: one direction of an exchange, one step at a time. */
#ifndef LB_BODY_H
#define LB_BODY_H

#include "l7.h"

/* One direction of an exchange. */
struct lb_lane {
    struct lb_l7 *l7;
    struct lb_exchange *exchange;
    struct lb_side *from;
    struct lb_side *to;
    struct lb_flow *flow; /* what `to` did not take */
    struct lb_body *body;
    uint64_t *counter; /* of bytes read */
};

/* What a step came to. */
enum lb_step {
    LB_STEP_MOVED,
    LB_STEP_BLOCKED,     /* nothing to read now */
    LB_STEP_LATER,       /* enough was read in this turn */
    LB_STEP_END,         /* FIN */
    LB_STEP_FROM_FAILED,
    LB_STEP_TO_FAILED,
    LB_STEP_BAD,         /* the chunks break the rules */
    LB_STEP_TOO_LARGE,
};

/* Read once, send what came; a buffer must be free. What is long and needs not be read, a chunk's data
 * included, is spliced. */
__attribute__((warn_unused_result)) enum lb_step lb_body_plain(struct lb_lane *lane);
__attribute__((warn_unused_result)) enum lb_step lb_body_chunked_request(struct lb_lane *lane);
__attribute__((warn_unused_result)) enum lb_step lb_body_chunked_response(struct lb_lane *lane);

/* So many bytes of it have passed. */
void lb_body_took(struct lb_body *body, size_t bytes);

#endif
