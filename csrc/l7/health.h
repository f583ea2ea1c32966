/* The listener's health_path: is the balancer ready? */
#ifndef LB_HEALTH_H
#define LB_HEALTH_H

#include "l7.h"
#include "verdict.h"

/* Does the request under way, in l7->message, ask that? */
int lb_http_asks_health(const struct lb_l7 *l7, const struct lb_exchange *exchange, const char *bytes);
__attribute__((warn_unused_result)) struct lb_verdict lb_http_respond_health(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
