/* How long we wait for a client that has no exchange: for a request, for the rest of its head, or for the end. */
#ifndef LB_IDLE_H
#define LB_IDLE_H

#include "h1.h"
#include "../l7.h"
#include "../verdict.h"

/* Its timer has to fire in time. */
void lb_h1_rearm(struct lb_l7 *l7, struct lb_h1 *h1);

/* Its timer has fired. */
__attribute__((warn_unused_result)) struct lb_verdict lb_h1_fire(struct lb_l7 *l7, struct lb_h1 *h1);

#endif
