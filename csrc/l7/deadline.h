/* How long an exchange waits for whom. */
#ifndef LB_DEADLINE_H
#define LB_DEADLINE_H

#include "l7.h"
#include "verdict.h"

/* Its timer has to fire in time. */
void lb_http_rearm(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Its timer has fired. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_fire(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
