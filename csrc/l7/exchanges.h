/* The exchanges of a worker: each has a place in a slab while it is under way. */
#ifndef LB_EXCHANGES_H
#define LB_EXCHANGES_H

#include "l7.h"

/* One begins. There is room: no client has two. Its client's codec says how its client's end is spoken to, and gives it the request. */
struct lb_exchange *lb_exchange_take(struct lb_l7 *l7, struct lb_http_client *client);

/* It is over, and its backend has been left. */
void lb_exchange_give(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
