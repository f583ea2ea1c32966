/* The exchanges of a worker: each has a place in a slab while it is under way. */
#ifndef LB_EXCHANGES_H
#define LB_EXCHANGES_H

#include "l7.h"

/* One begins: the client's input is its own. There is room: no client has two. */
struct lb_exchange *lb_exchange_take(struct lb_l7 *l7, struct lb_h1 *h1);

/* It is over, and its backend has been left: what follows its request is the client's again. */
void lb_exchange_give(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
