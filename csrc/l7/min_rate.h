/* How quickly a client sends or takes a body. */
#ifndef LB_MIN_RATE_H
#define LB_MIN_RATE_H

#include "l7.h"
#include "verdict.h"

/* The request goes out, and its body is still to come. */
void lb_http_rate_sender(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Its timer has fired: has it been slower than its listener allows? Sets the timer for when to ask again. */
int lb_http_is_slow(struct lb_l7 *l7, struct lb_exchange *exchange);

/* It has. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_too_slow(struct lb_l7 *l7, struct lb_exchange *exchange);

/* It was not the client that we waited for: its time counts anew. */
static inline void lb_http_excuse(struct lb_exchange *exchange)
{
    exchange->rated = LB_RATE_NOBODY;
}

#endif
