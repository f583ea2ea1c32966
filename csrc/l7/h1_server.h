/* Responses of a backend that speaks HTTP/1. */
#ifndef LB_H1_SERVER_H
#define LB_H1_SERVER_H

#include "l7.h"
#include "verdict.h"

/* Read what there is of a response's head. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_await_response(struct lb_l7 *l7, struct lb_exchange *exchange);

/* A response's head, or several, that begin at bytes. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_read_response(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                            char *bytes, uint32_t count);

/* One step of its body. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_transfer_response(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
