/* What routes answer by themselves: redirects, refusals and fixed responses. */
#ifndef LB_ROUTE_ANSWER_H
#define LB_ROUTE_ANSWER_H

#include "exchange.h"
#include "l7.h"
#include "verdict.h"

/* What such a response says beside its status. */
struct lb_route_answer {
    const char *location; /* of a redirect, NUL-ended; else NULL */
    const char *type;     /* the media type of its own body, NUL-ended; NULL: it has none, and says its status in words */
    const char *body;
    uint32_t body_length;
};

/* The response to a request that goes to no pool: its route's own, or 404. pool: where it goes instead. bytes: where the request of
 * l7->message lies. */
__attribute__((warn_unused_result)) struct lb_verdict lb_route_answer(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                      const char *bytes, const struct lb_routed_to *to);

/* Of what was said just now, at LB_NEXT_ANSWER; of any other response nothing is set. */
struct lb_route_answer lb_route_answered(const struct lb_l7 *l7, struct lb_verdict said);

#endif
