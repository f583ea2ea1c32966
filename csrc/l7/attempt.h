/* A backend for a request: pick, connection, the next one. */
#ifndef LB_ATTEMPT_H
#define LB_ATTEMPT_H

#include "l7.h"
#include "verdict.h"

/* Find one, or a place in the queue. l7->message is the request. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_attempt(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Go on with this backend, which is charged with it already. l7->message is the request. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_attempt_with(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                           uint32_t backend);

/* A fresh connection ended before a byte of a response: send the request once more, to another backend. said: what to respond when there
 * is none, or the budget is spent. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_attempt_another(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                              struct lb_verdict said);

/* Its backend is not tried again. */
void lb_http_pass_over(struct lb_exchange *exchange);

/* Another backend that takes the request now, charged with it beside its own, of which is decided that it failed; LB_NONE: there is none, or
 * the budget is spent. l7->message becomes the request, at least where there is one. */
uint32_t lb_http_pick_another(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Another backend than those that were tried, charged with a request that has none; LB_NONE: there is none that takes it now. l7->message becomes the
 * request, at least where there is one. */
uint32_t lb_http_pick_beside(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Leave its backend, as if it had asked none: what it was told is no failure. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_attempt_anew(struct lb_l7 *l7, struct lb_exchange *exchange);

/* A client in a queue: is there a backend for it? *nobody: there is none but for those who wait for a certain one. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_attempt_queued(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                             int *nobody);

/* The connect under way has come to this error: the next one. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_attempt_failed(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                             int error);

/* The connect under way has succeeded: what comes before the request, its PROXY header and TLS. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_connected(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
