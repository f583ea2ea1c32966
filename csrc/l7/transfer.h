/* An exchange under way: both its directions. */
#ifndef LB_TRANSFER_H
#define LB_TRANSFER_H

#include "l7.h"
#include "verdict.h"

/* The request goes out: its head, and what there is of its body. l7->message is the request; the state is LB_EXCHANGE_FORWARDING. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_send_request(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Go on in both directions. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_transfer(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
