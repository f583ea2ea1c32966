/* A request that breaks the rules, or a limit. */
#ifndef LB_BAD_REQUEST_H
#define LB_BAD_REQUEST_H

#include "l7.h"
#include "verdict.h"

/* Counted, and what to respond; the connection ends with it. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_bad_request(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                          enum lb_reading reading);

#endif
