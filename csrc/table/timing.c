#include "timing.h"

#include <string.h>

/* The row has a new tenant, or its first. */
static __attribute__((noinline)) void forget(const struct lb_shm *shm, uint32_t worker, uint32_t pool, uint32_t tenant)
{
    struct lb_budget *budget = lb_shm_budget(shm, worker, pool);
    uint32_t timed = budget->timed;
    __atomic_store_n(&budget->timed, 0, __ATOMIC_RELEASE);
    for (uint32_t timing = 0; timing < LB_TIMINGS; timing++)
        if (timed & 1u << timing)
            memset(lb_shm_timing(shm, worker, pool, (enum lb_timing)timing), 0, sizeof(struct lb_histogram));
    __atomic_store_n(&budget->tenant, tenant, __ATOMIC_RELEASE);
}

void lb_timing_note(const struct lb_shm *shm, uint32_t worker, uint32_t pool, enum lb_timing timing, uint64_t us)
{
    struct lb_histogram *histogram = lb_shm_timing(shm, worker, pool, timing);
    struct lb_budget *budget = lb_shm_budget(shm, worker, pool);
    if (budget->tenant != shm->pools[pool].tenant)
        forget(shm, worker, pool, shm->pools[pool].tenant);
    lb_add(&histogram->count[lb_timing_bucket(us)], 1);
    lb_add(&histogram->sum_us, us);
    if (!(budget->timed & 1u << timing))
        __atomic_store_n(&budget->timed, budget->timed | 1u << timing, __ATOMIC_RELEASE);
}
