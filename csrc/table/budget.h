/* The retry budget of a pool: a share of its recent sessions plus a floor, over all workers (Finagle's RetryBudget). */
#ifndef LB_BUDGET_H
#define LB_BUDGET_H

#include "shm.h"

/* A session of this pool began. second: monotonic seconds. */
void lb_budget_session(const struct lb_shm *shm, uint32_t worker, uint32_t pool, uint32_t second);

/* May a session try another backend? Counts the retry if so. Reads every worker's window, writes its own. */
int lb_budget_retry(const struct lb_shm *shm, uint32_t worker, uint32_t pool, uint32_t second);

#endif
