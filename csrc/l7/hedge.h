/* A request whose response is late goes to a second backend as well, by a twin; the first head wins, and the other backend is left. Only
 * requests that may be sent twice, have no body, and belong to no certain backend; and only a share of them. */
#ifndef LB_HEDGE_H
#define LB_HEDGE_H

#include "l7.h"
#include "verdict.h"

/* Milliseconds until an exchange that may be hedged is; 0: now. UINT32_MAX: it is not due. */
uint32_t lb_hedge_left_ms(struct lb_l7 *l7, const struct lb_exchange *exchange);

/* It is due: a twin goes, if the pool's share allows it. */
void lb_hedge_send(struct lb_l7 *l7, struct lb_exchange *exchange);

/* A twin, which is not over: find it a backend beside its request's. */
__attribute__((warn_unused_result)) struct lb_verdict lb_hedge_begin(struct lb_l7 *l7, struct lb_exchange *twin);

/* The final head of a response, l7->message, has come to a twin. Its request's exchange takes it over, with the backend, and leaves its own to
 * the twin. Returns that exchange; NULL: the response is of no use. */
struct lb_exchange *lb_hedge_take_over(struct lb_l7 *l7, struct lb_exchange *twin);

#endif
