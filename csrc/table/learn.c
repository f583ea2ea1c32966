#include "learn.h"

#include "avoid.h"
#include "policy.h"

struct lb_outcome *lb_learn_of(const struct lb_shm *shm, uint32_t section, uint32_t backend, int *fresh)
{
    struct lb_outcome *outcome = lb_shm_outcome(shm, section, backend);
    uint64_t generation = shm->backends[backend].generation;
    *fresh = outcome->generation != generation;
    if (*fresh) {
        *outcome = (struct lb_outcome){0};
        __atomic_store_n(&outcome->generation, generation, __ATOMIC_RELEASE);
    }
    return outcome;
}

void lb_learn_connected(struct lb_outcome *outcome, uint64_t now_ms)
{
    outcome->last_success_ms = now_ms;
    outcome->failures_in_row = 0;
    lb_avoid_reached(outcome);
}

void lb_learn_reached(struct lb_outcome *outcome, uint32_t took_us, uint64_t now_ms)
{
    outcome->latency_us = outcome->sessions ? (uint32_t)(((uint64_t)outcome->latency_us * 7 + took_us) / 8) : took_us;
    lb_policy_observe(outcome, took_us, (uint32_t)now_ms);
    lb_learn_connected(outcome, now_ms);
    lb_add(&outcome->sessions, 1);
    lb_add(&outcome->good, 1);
}

void lb_learn_answered(struct lb_outcome *outcome, uint32_t took_us, uint64_t now_ms)
{
    lb_learn_reached(outcome, took_us, now_ms);
    outcome->answers_in_row = 0;
    outcome->last_answer_ms = now_ms;
}

void lb_learn_unreachable(struct lb_outcome *outcome, int error)
{
    lb_add(&outcome->failures, 1);
    outcome->last_errno = error;
    outcome->failures_in_row++;
}

void lb_learn_unanswered(struct lb_outcome *outcome, uint32_t status)
{
    lb_add(&outcome->failures, 1);
    if (status)
        lb_add(&outcome->sessions, 1);
    outcome->last_status = status;
    outcome->answers_in_row++;
}

void lb_learn_error(struct lb_outcome *outcome)
{
    lb_add(&outcome->failures, 1);
    lb_add(&outcome->sessions, 1);
    outcome->answers_in_row = 0;
}
