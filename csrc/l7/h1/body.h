/* Bodies as HTTP/1 frames them: by their length, in chunks, or by the connection's end. */
#ifndef LB_H1_BODY_H
#define LB_H1_BODY_H

#include "../body.h"

/* As lb_stream_ops has it, of a stream that has its socket to itself. */
static inline unsigned lb_h1_ready(const struct lb_side *side)
{
    return side->readable * (unsigned)LB_CAN_READ | side->writable * (unsigned)LB_CAN_SEND |
           side->hung_up * (unsigned)LB_HAS_LEFT;
}

/* As lb_stream_ops has it. */
__attribute__((warn_unused_result)) enum lb_step lb_h1_read_request_body(struct lb_body_lane *body, struct lb_chunk_piece *piece);
__attribute__((warn_unused_result)) enum lb_step lb_h1_read_response_body(struct lb_body_lane *body,
                                                                          struct lb_chunk_piece *piece);

/* What has come of a request's body with its head: as much of it as there is belongs to the exchange from now on. trailers: its pool takes
 * them. */
__attribute__((warn_unused_result)) enum lb_reading lb_h1_first_of_request(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                           int trailers);

/* The same of a response's, and what goes out of that: 0, or -1. */
__attribute__((warn_unused_result)) int lb_h1_first_of_response(struct lb_exchange *exchange, char *bytes, uint32_t count,
                                                                struct lb_chunk_piece *piece);

#endif
