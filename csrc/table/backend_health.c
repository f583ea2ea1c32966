#include "backend_health.h"

#include "avoid.h"
#include "policy.h"

struct lb_backend_health *lb_health_of(const struct lb_shm *shm, uint32_t section, uint32_t backend, int *fresh)
{
    struct lb_backend_health *health = lb_shm_health(shm, section, backend);
    uint64_t generation = shm->backends[backend].generation;
    *fresh = health->generation != generation;
    if (*fresh) {
        *health = (struct lb_backend_health){0};
        __atomic_store_n(&health->generation, generation, __ATOMIC_RELEASE);
    }
    return health;
}

void lb_health_connected(struct lb_backend_health *health, uint64_t now_ms)
{
    health->last_success_ms = now_ms;
    health->failures_in_row = 0;
    lb_avoid_reached(health);
}

void lb_health_reached(struct lb_backend_health *health, uint32_t took_us, uint64_t now_ms)
{
    health->latency_us = health->sessions ? (uint32_t)(((uint64_t)health->latency_us * 7 + took_us) / 8) : took_us;
    lb_policy_observe(health, took_us, (uint32_t)now_ms);
    lb_health_connected(health, now_ms);
    lb_add(&health->sessions, 1);
    lb_add(&health->good, 1);
}

void lb_health_responded(struct lb_backend_health *health, uint32_t took_us, uint64_t now_ms)
{
    lb_health_reached(health, took_us, now_ms);
    health->failed_responses_in_row = 0;
    health->last_response_ms = now_ms;
}

void lb_health_unreachable(struct lb_backend_health *health, int error)
{
    lb_add(&health->failures, 1);
    health->last_errno = error;
    health->failures_in_row++;
}

void lb_health_failed(struct lb_backend_health *health, uint32_t status)
{
    lb_add(&health->failures, 1);
    if (status)
        lb_add(&health->sessions, 1);
    health->last_status = (uint16_t)status;
    health->failed_responses_in_row++;
}

void lb_health_error(struct lb_backend_health *health)
{
    lb_add(&health->failures, 1);
    lb_add(&health->sessions, 1);
    health->failed_responses_in_row = 0;
}
