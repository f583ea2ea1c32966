/* A pool's view: who may be picked, published whole by the control plane, read without a lock by the workers. */
#ifndef LB_VIEW_H
#define LB_VIEW_H

#include "policy.h"
#include "shm.h"

/* Control ctx: build the next view of a pool from the rows that are up and have a weight, and make it current. Those of the lowest
 * tier take turns; the others follow as its reserve.
 * Returns how many can be picked, or -ENOMEM (the old view stays). */
__attribute__((warn_unused_result)) int64_t lb_view_publish(const struct lb_shm *shm, uint32_t pool);

/* The tier whose backends take turns now. */
uint32_t lb_view_tier(const struct lb_shm *shm, uint32_t pool);

/* Worker: pick a backend of the pool that was not tried, or LB_NONE. */
uint32_t lb_view_pick(const struct lb_shm *shm, uint32_t pool, const struct lb_wish *wish, struct lb_cursor *cursor);

/* Of a pool that had nobody for this wish: is a backend that it has not tried merely full, and not passed over (table/avoid.h)? */
int lb_view_some_are_full(const struct lb_shm *shm, uint32_t pool, const struct lb_wish *wish);

/* Pick a backend and charge it with a cost (table/load.h), or LB_NONE. One that another worker filled up at the same moment is passed
 * over. */
uint32_t lb_view_acquire(const struct lb_shm *shm, uint32_t pool, const struct lb_wish *wish, struct lb_cursor *cursor,
                         uint32_t cost);

#endif
