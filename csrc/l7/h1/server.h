/* Responses of a backend that speaks HTTP/1. */
#ifndef LB_H1_SERVER_H
#define LB_H1_SERVER_H

#include "../l7.h"
#include "../verdict.h"

/* As lb_stream_ops has it. */
__attribute__((warn_unused_result)) struct lb_verdict lb_h1_await_response(struct lb_l7 *l7, struct lb_exchange *exchange);
__attribute__((warn_unused_result)) struct lb_verdict lb_h1_resume_response(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
