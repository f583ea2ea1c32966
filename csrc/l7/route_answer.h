/* What routes answer by themselves: redirects and refusals. */
#ifndef LB_ROUTE_ANSWER_H
#define LB_ROUTE_ANSWER_H

#include "exchange.h"
#include "l7.h"
#include "verdict.h"

/* The response to a request that goes to no pool: its route's own, or 404. pool: where it goes instead. bytes: where the request of l7->message lies. */
__attribute__((warn_unused_result)) struct lb_verdict lb_route_answer(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                      const char *bytes, uint32_t pool);

/* Where a response of this status leads, NUL-ended; NULL: it is no redirect. Only routes redirect, just before they are composed. */
static inline const char *lb_route_location(const struct lb_l7 *l7, uint16_t status)
{
    return status >= 300 && status < 400 ? l7->location : NULL;
}

#endif
