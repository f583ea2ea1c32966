/* The body of a request that comes by HTTP/2: DATA that its stream holds, on its way to the head buffer while no backend has the request, and to
 * the backend then. To an end that takes chunks it goes as chunks. */
#ifndef LB_H2_UPLOAD_H
#define LB_H2_UPLOAD_H

#include "../body.h"
#include "streams.h"

/* DATA has come: hold it. -1: there is no buffer. */
__attribute__((warn_unused_result)) int lb_h2_upload_take(struct lb_l7 *l7, struct lb_h2_stream *stream, const uint8_t *bytes,
                                                          uint32_t count);

/* The request's head is whole, l7->message: what is its body? trailers: its pool takes them. */
__attribute__((warn_unused_result)) enum lb_reading lb_h2_upload_begin(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                       int trailers);

/* As lb_stream_ops has them. */
__attribute__((warn_unused_result)) struct lb_verdict lb_h2_upload_more(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                        int surely);
__attribute__((warn_unused_result)) enum lb_step lb_h2_upload_read(struct lb_body_lane *body, struct lb_chunk_piece *piece);

#endif
