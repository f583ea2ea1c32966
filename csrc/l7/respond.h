/* Local responses: the balancer answers by itself, and the exchange ends with it. */
#ifndef LB_RESPOND_H
#define LB_RESPOND_H

#include "l7.h"
#include "verdict.h"

/* The driver's alone. said: LB_NEXT_RESPOND or LB_NEXT_ANSWER. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_respond(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                      struct lb_verdict said);

#endif
