/* The body of a request that waits for a backend. */
#ifndef LB_UPLOAD_H
#define LB_UPLOAD_H

#include "l7.h"
#include "verdict.h"

/* Read more of it, or see that its client has left. LB_NEXT_WAIT: no more can be read now. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_take_more(struct lb_l7 *l7, struct lb_exchange *exchange);

/* A backend is at hand: is the client still there? LB_NEXT_WAIT: yes. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_is_there(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
