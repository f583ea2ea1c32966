#include "budget.h"

#include <stddef.h>

static uint32_t *entry(struct lb_budget *budget, uint32_t *counts, uint32_t second)
{
    uint32_t at = second % LB_WINDOW;
    if (budget->second[at] != second) {
        __atomic_store_n(&budget->second[at], second, __ATOMIC_RELAXED);
        __atomic_store_n(&budget->sessions[at], 0, __ATOMIC_RELAXED);
        __atomic_store_n(&budget->retries[at], 0, __ATOMIC_RELAXED);
    }
    return &counts[at];
}

static void count(uint32_t *figure)
{
    __atomic_store_n(figure, *figure + 1, __ATOMIC_RELAXED);
}

void lb_budget_session(const struct lb_shm *shm, uint32_t worker, uint32_t pool, uint32_t second)
{
    struct lb_budget *budget = lb_shm_budget(shm, worker, pool);
    count(entry(budget, budget->sessions, second));
}

static void sum_window(const struct lb_budget *budget, uint32_t second, uint64_t *sessions, uint64_t *retries)
{
    for (size_t i = 0; i < LB_WINDOW; i++)
        if (second - __atomic_load_n(&budget->second[i], __ATOMIC_RELAXED) < LB_WINDOW) {
            *sessions += __atomic_load_n(&budget->sessions[i], __ATOMIC_RELAXED);
            *retries += __atomic_load_n(&budget->retries[i], __ATOMIC_RELAXED);
        }
}

int lb_budget_retry(const struct lb_shm *shm, uint32_t worker, uint32_t pool, uint32_t second)
{
    const struct lb_pool_row *row = &shm->pools[pool];
    uint64_t sessions = 0, retries = 0;
    for (uint32_t i = 0, sections = lb_shm_sections(shm); i < sections; i++)
        sum_window(lb_shm_budget(shm, i, pool), second, &sessions, &retries);
    if (retries * 100 >= sessions * row->budget_percent + (uint64_t)row->budget_floor * LB_WINDOW * 100)
        return 0;
    struct lb_budget *mine = lb_shm_budget(shm, worker, pool);
    count(entry(mine, mine->retries, second));
    return 1;
}
