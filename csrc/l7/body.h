/* Bodies on their way: one direction of an exchange, one step at a time. */
#ifndef LB_BODY_H
#define LB_BODY_H

#include "../l4/lane.h"
#include "l7.h"

/* One direction of an exchange, with the body that goes there. */
struct lb_body_lane {
    struct lb_lane lane; /* its sides are those of the streams, if they have them */
    struct lb_l7 *l7;
    struct lb_exchange *exchange;
    const struct lb_stream *from;
    const struct lb_stream *to;
    struct lb_body *body;
    uint64_t *bytes;   /* that came: of the exchange, */
    uint64_t *counter; /* of the worker */
};

struct lb_body_lane lb_body_of_request(struct lb_l7 *l7, struct lb_exchange *exchange);
struct lb_body_lane lb_body_of_response(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Read once, send what came; a buffer must be free. What is long and needs not be read, a chunk's data included, is spliced between
 * sockets. */
__attribute__((warn_unused_result)) enum lb_step lb_body_step(struct lb_body_lane *body);

/* For codecs: so many bytes were read, ... */
void lb_body_arrived(struct lb_body_lane *body, size_t bytes);

/* ... of which so much is content. What frames it, sizes of chunks and trailers, puts off no time limit: it may drip. */
void lb_body_moved(struct lb_body_lane *body, size_t content);

/* So many bytes of it have passed. */
void lb_body_took(struct lb_body *body, size_t bytes);

/* Does a chunked body of a request that has passed so far, and is announced so far, go beyond what its listener takes? */
int lb_body_is_too_large(const struct lb_l7 *l7, const struct lb_exchange *exchange);

#endif
