/* Requests that a service decides on: a small request of our own, made of the head of the client's, goes to a pool, and what it comes to says
 * whether the client's goes on. As nginx's auth_request, Envoy's ext_authz over HTTP and Traefik's ForwardAuth have it: a 2xx lets it on, with
 * some headers of that response; a 4xx, and a 3xx with a Location, go to the client; all else is 503. Nothing goes on unasked. */
#ifndef LB_AUTH_REQUEST_H
#define LB_AUTH_REQUEST_H

#include "granted.h"
#include "l7.h"
#include "twin.h"
#include "verdict.h"

/* Ask about this request, whose message is l7->message, as the guard says: LB_NEXT_ASK, when the question is on its way; LB_NEXT_WAIT, when it
 * was asked lately and may go on: it has what was granted; else the response. pool, route: where it leads (lb_routed_to). */
__attribute__((warn_unused_result)) struct lb_verdict lb_auth_ask(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                  const char *bytes, const struct lb_guard_row *guard,
                                                                  const struct lb_routed_to *to);

/* The final head of a response, l7->message, has come to a twin that asks. */
void lb_auth_answered(struct lb_l7 *l7, struct lb_exchange *twin, const char *bytes);

/* A question is over: what its exchange goes on with. A refusal is counted, and told to who asks why. */
__attribute__((warn_unused_result)) struct lb_verdict lb_auth_said(struct lb_l7 *l7, const struct lb_twin *twin);

/* That is over. */
__attribute__((warn_unused_result)) struct lb_verdict lb_auth_late(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
