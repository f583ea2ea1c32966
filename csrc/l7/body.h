/* Bodies on their way: one direction of an exchange, one step at a time. */
#ifndef LB_BODY_H
#define LB_BODY_H

#include "../l4/lane.h"
#include "l7.h"

/* One direction of an exchange, with the body that goes there. */
struct lb_body_lane {
    struct lb_lane lane;
    struct lb_l7 *l7;
    struct lb_exchange *exchange;
    struct lb_body *body;
    uint64_t *bytes;   /* that came: of the exchange, */
    uint64_t *counter; /* of the worker */
};

struct lb_body_lane lb_body_of_request(struct lb_l7 *l7, struct lb_exchange *exchange);
struct lb_body_lane lb_body_of_response(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Read once, send what came; a buffer must be free. What is long and needs not be read, a chunk's data
 * included, is spliced. */
__attribute__((warn_unused_result)) enum lb_step lb_body_plain(struct lb_body_lane *body);
__attribute__((warn_unused_result)) enum lb_step lb_body_chunked_request(struct lb_body_lane *body);
__attribute__((warn_unused_result)) enum lb_step lb_body_chunked_response(struct lb_body_lane *body);

/* So many bytes of it have passed. */
void lb_body_took(struct lb_body *body, size_t bytes);

#endif
