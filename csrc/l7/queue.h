/* Requests that wait for a backend of their pool: of each priority first come, first served. Those of high priority go before those of
 * normal priority that came up to half of queue_timeout earlier. So one of normal priority, too, has its turn before its time is over,
 * however many of high priority come. */
#ifndef LB_QUEUE_H
#define LB_QUEUE_H

#include "l7.h"

/* To the end of its lane in its pool's queue: 0, or -1 when as many of its priority wait as may. l7->message is the request. */
__attribute__((warn_unused_result)) int lb_http_enqueue(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Out of it, if it is in one (LB_EXCHANGE_QUEUED). */
void lb_http_leave_queue(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Does anybody wait for this backend of the exchange's pool alone? The exchange itself does not wait yet. */
int lb_http_is_awaited(const struct lb_l7 *l7, const struct lb_exchange *exchange, uint32_t backend);

/* A walk through a pool's queue in the order in which they have their turn. Who leaves meanwhile, or comes back to the end, does not
 * disturb it. */
struct lb_queue_walk {
    uint32_t next[2]; /* of each lane */
    uint32_t left[2];
    uint32_t pool;
};

void lb_queue_walk_begin(const struct lb_l7 *l7, uint32_t pool, struct lb_queue_walk *walk);

/* The next one; NULL: that was the last. */
struct lb_exchange *lb_queue_walk_on(const struct lb_l7 *l7, struct lb_queue_walk *walk);

#endif
