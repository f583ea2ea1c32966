/* Requests that wait for a backend of their pool, first come, first served. */
#ifndef LB_QUEUE_H
#define LB_QUEUE_H

#include "l7.h"

/* To the end of its pool's queue: 0, or -1 when that is full. */
__attribute__((warn_unused_result)) int lb_http_enqueue(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Out of it, if it is in one (LB_EXCHANGE_QUEUED). */
void lb_http_leave_queue(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Does anybody wait for this backend of the exchange's pool alone? The exchange itself does not wait yet. */
int lb_http_is_awaited(const struct lb_l7 *l7, const struct lb_exchange *exchange, uint32_t backend);

#endif
