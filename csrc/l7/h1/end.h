/* After an exchange, and the end of a client that speaks HTTP/1. */
#ifndef LB_H1_END_H
#define LB_H1_END_H

#include "../../table/ending.h"
#include "h1.h"
#include "../l7.h"
#include "../verdict.h"

/* Does the connection end at once with this exchange, without waiting for the client's end? */
int lb_h1_is_last(const struct lb_exchange *exchange);

/* Its exchange is over, and has left its backend: what came behind the request is the connection's again. */
void lb_h1_give_exchange(struct lb_l7 *l7, struct lb_h1 *h1);

/* As lb_stream_ops has it. */
__attribute__((warn_unused_result)) struct lb_verdict lb_h1_done(struct lb_l7 *l7, struct lb_exchange *exchange);

void lb_h1_reset(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_end why);

/* It lingers: throw away what it still sends. */
__attribute__((warn_unused_result)) struct lb_verdict lb_h1_linger(struct lb_l7 *l7, struct lb_h1 *h1);

/* The driver's alone: counts it, gives everything back, closes. */
void lb_h1_end(struct lb_l7 *l7, struct lb_h1 *h1, enum lb_end why);

#endif
