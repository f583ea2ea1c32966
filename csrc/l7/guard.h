/* Who may use a listener of mode http, or a route: asked of each request that a guard stands before (struct lb_guard_row). */
#ifndef LB_GUARD_H
#define LB_GUARD_H

#include "exchange.h"
#include "l7.h"
#include "verdict.h"

/* May it go on, by its listener's guard and its route's? LB_NEXT_WAIT: it may; LB_NEXT_ASK: a service was asked, and it comes here again if
 * the routes are others by then; else the response. bytes: where the request of l7->message lies. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_guard(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                    const char *bytes, const struct lb_routed_to *to);

/* How a client may tell who it is. */
enum lb_challenge { LB_CHALLENGE_BEARER = 1, LB_CHALLENGE_BASIC = 2 };

/* The lines by which the response that was said just now asks for credentials; NULL: it does not. Of lbcore's own responses only those of
 * guards have 401. */
const char *lb_guard_challenges(const struct lb_l7 *l7, struct lb_verdict said);

/* All lines that such a response has of its guard: those, or what the service that decides has said with its refusal. */
const char *lb_guard_lines(const struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_verdict said);

/* May this address go where a TLS client's name leads? */
int lb_guard_admits_name(const struct lb_routes *routes, const struct lb_routed_to *to, const uint8_t ip[16]);

#endif
