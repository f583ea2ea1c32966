/* A client's connection that speaks HTTP/1, while it carries no exchange. */
#ifndef LB_H1_CONNECTION_H
#define LB_H1_CONNECTION_H

#include "../l7.h"
#include "../verdict.h"
#include "h1.h"

/* One step: read a request, or throw away what comes. */
__attribute__((warn_unused_result)) struct lb_verdict lb_h1_step(struct lb_l7 *l7, struct lb_h1 *h1);

/* Do what was said of it, for the driver: respond, linger or end. LB_NEXT_RESPOND: it has an exchange now, of which that is said. */
__attribute__((warn_unused_result)) struct lb_verdict lb_h1_carry_out(struct lb_l7 *l7, struct lb_h1 *h1, struct lb_verdict said);

#endif
