/* The head of a response by HTTP/2, and what becomes of a request that got none. */
#ifndef LB_H2_AWAIT_H
#define LB_H2_AWAIT_H

#include "servers.h"
#include "../verdict.h"

/* As lb_stream_ops has it. */
__attribute__((warn_unused_result)) struct lb_verdict lb_h2_await_response(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
