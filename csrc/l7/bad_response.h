/* A response that cannot be passed on. */
#ifndef LB_BAD_RESPONSE_H
#define LB_BAD_RESPONSE_H

#include "l7.h"
#include "verdict.h"

/* It breaks the rules of HTTP, or a limit. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_bad_response(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                           enum lb_reading reading);

/* What is lacking here is not the backend's fault. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_no_place(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                       const char *why);
__attribute__((warn_unused_result)) struct lb_verdict lb_http_no_buffer(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
