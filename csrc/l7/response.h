/* Responses of backends, whatever they speak: judged, counted, and passed on. */
#ifndef LB_RESPONSE_H
#define LB_RESPONSE_H

#include "l7.h"
#include "verdict.h"

/* The response's final head, l7->message, read from bytes, and what goes out of its body, have come: on to the client. exchange->response
 * says what is still to come. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_pass_response(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                            const char *bytes, const struct lb_chunk_piece *body);

/* So many bytes of a response came from its backend, after a pause: if it is not whole, its further parts may wait for our
 * acknowledgement. */
void lb_http_acknowledge(struct lb_l7 *l7, struct lb_exchange *exchange, size_t bytes, uint32_t pause_ms);

/* One step of its body. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_transfer_body(struct lb_l7 *l7, struct lb_exchange *exchange);

/* A call of gRPC is over: its status says whether that is the backend's failure (UNAVAILABLE and INTERNAL are, as a 503 is), where its
 * pool counts such. Once. */
void lb_http_judge_call(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
