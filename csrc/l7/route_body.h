/* A request whose route, or whose backend, depends on its body: it waits, before that is chosen, until what has come of the body decides.
 * All that is read stays in the exchange's buffer, and goes on as it came. */
#ifndef LB_ROUTE_BODY_H
#define LB_ROUTE_BODY_H

#include "l7.h"
#include "verdict.h"

/* Look at what is there (l7->message is the request): on to its pool, or LB_NEXT_HOLD: more is to be read. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_look_at_body(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Likewise, for the policy of its pool, which is chosen: on to a backend. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_look_at_text(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Read on. LB_NEXT_WAIT: no more can be read now. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_read_body(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
