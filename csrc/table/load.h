/* What is under way on a backend: taken before it is reached, given back when the session or exchange is over. */
#ifndef LB_LOAD_H
#define LB_LOAD_H

#include "shm.h"

/* Charge a session or exchange of this cost to a backend: 1, or 0 when that would pass the pool's max_active, which counts them by
 * number. Strict over all sections: of two that take the last place at once, both may be refused, never both served. */
__attribute__((warn_unused_result)) int lb_load_take(const struct lb_shm *shm, uint32_t worker, uint32_t pool, uint32_t backend,
                                                     uint32_t cost);

/* Likewise without asking: of a session that was another section's. */
void lb_load_charge(const struct lb_shm *shm, uint32_t worker, uint32_t pool, uint32_t backend, uint32_t cost);
void lb_load_give(const struct lb_shm *shm, uint32_t worker, uint32_t pool, uint32_t backend, uint32_t cost);

/* The cost of all that is under way in a pool. */
uint64_t lb_load_of_pool(const struct lb_shm *shm, uint32_t pool);

#endif
