/* An exchange that is over: on to the next, or to the end. */
#ifndef LB_FINISH_H
#define LB_FINISH_H

#include "l7.h"
#include "verdict.h"

/* The driver's alone. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_finish(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
