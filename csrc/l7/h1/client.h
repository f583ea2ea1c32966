/* Requests of a client that speaks HTTP/1. */
#ifndef LB_H1_CLIENT_H
#define LB_H1_CLIENT_H

#include "h1.h"
#include "../l7.h"
#include "../verdict.h"

/* There is no exchange: read, until a request's head is whole; then there is one. Say what becomes of it. */
__attribute__((warn_unused_result)) struct lb_verdict lb_h1_take_request(struct lb_l7 *l7, struct lb_h1 *h1);

/* An exchange for what lies in its buffer: not counted yet. */
struct lb_exchange *lb_h1_take_exchange(struct lb_l7 *l7, struct lb_h1 *h1);

#endif
