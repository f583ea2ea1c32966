#include "load.h"

static void change(uint32_t *figure, uint32_t by)
{
    __atomic_store_n(figure, *figure + by, __ATOMIC_RELAXED);
}

int lb_load_take(const struct lb_shm *shm, uint32_t worker, uint32_t pool, uint32_t backend, uint32_t cost)
{
    uint32_t *mine = &lb_shm_active(shm, worker)[backend], most = shm->pools[pool].max_active;
    change(mine, 1);
    if (most) {
        /* Each worker writes its own figure, then reads the others': one of two sees the other's (Dekker). */
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (lb_shm_in_flight(shm, backend) > most) {
            change(mine, UINT32_MAX);
            return 0;
        }
    }
    change(&lb_shm_charged(shm, worker)[backend], cost);
    change(&lb_shm_budget(shm, worker, pool)->active, cost);
    return 1;
}

void lb_load_charge(const struct lb_shm *shm, uint32_t worker, uint32_t pool, uint32_t backend, uint32_t cost)
{
    change(&lb_shm_active(shm, worker)[backend], 1);
    change(&lb_shm_charged(shm, worker)[backend], cost);
    change(&lb_shm_budget(shm, worker, pool)->active, cost);
}

void lb_load_give(const struct lb_shm *shm, uint32_t worker, uint32_t pool, uint32_t backend, uint32_t cost)
{
    change(&lb_shm_active(shm, worker)[backend], UINT32_MAX);
    change(&lb_shm_charged(shm, worker)[backend], -cost);
    change(&lb_shm_budget(shm, worker, pool)->active, -cost);
}

uint64_t lb_load_of_pool(const struct lb_shm *shm, uint32_t pool)
{
    uint64_t sum = 0;
    for (uint32_t worker = 0, count = lb_shm_sections(shm); worker < count; worker++)
        sum += __atomic_load_n(&lb_shm_budget(shm, worker, pool)->active, __ATOMIC_RELAXED);
    return sum;
}
