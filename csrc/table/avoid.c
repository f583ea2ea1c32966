#include "avoid.h"

enum {
    FIRST_PAUSE_MS = 1000,
    LONGEST_PAUSE_MS = 8000,
    GRACE_MS = 1000,     /* a trial's outcome may come so much later than the limit of a connect */
    TRIAL_MS = 2000,     /* of a backend that may be stopping: so long a request is waited for before the next one tries it */
    HOLD_MS = 2000,      /* so long what must not be lost is kept from it */
    SILENCE_MS = 1000,   /* udp: who is not refused for so long is reached, for it may never answer */
    MEMORY_MS = 60000,   /* a backend that nobody has tried for so long is tried like any other */
};

/* Milliseconds from now to then, 0 when it is over; never more than `most`, whatever is left there from long ago. */
static uint32_t until(uint32_t then_ms, uint32_t now_ms, uint32_t most)
{
    uint32_t left = then_ms - now_ms;
    return left <= most ? left : 0;
}

static struct lb_outcome *avoided(const struct lb_shm *shm, uint32_t section, uint32_t backend)
{
    struct lb_outcome *outcome = lb_shm_outcome(shm, section, backend);
    return outcome->avoided && outcome->generation == shm->backends[backend].generation ? outcome : NULL;
}

static uint32_t trial_ms(const struct lb_shm *shm, const struct lb_wish *wish, const struct lb_outcome *outcome, uint32_t pool)
{
    if (outcome->avoided == LB_AVOIDED_STOPPING)
        return TRIAL_MS;
    return wish->datagrams ? SILENCE_MS : shm->pools[pool].connect_timeout_ms + GRACE_MS;
}

static void stay_wary(const struct lb_shm *shm, uint32_t section, uint32_t pool, uint32_t until_ms)
{
    __atomic_store_n(&lb_shm_budget(shm, section, pool)->wary_until_ms, until_ms + MEMORY_MS, __ATOMIC_RELAXED);
}

int lb_avoid_skips(const struct lb_shm *shm, const struct lb_wish *wish, uint32_t backend)
{
    const struct lb_outcome *outcome = avoided(shm, wish->worker, backend);
    if (!outcome || (outcome->avoided == LB_AVOIDED_STOPPING && wish->sends == LB_SENDS_BYTES))
        return 0;
    uint32_t hold_ms = outcome->avoided == LB_AVOIDED_STOPPING && wish->sends == LB_SENDS_ONCE ? HOLD_MS : 0;
    return wish->tried_count || until(outcome->avoid_until_ms + hold_ms, wish->now_ms, outcome->avoid_ms + hold_ms);
}

int lb_avoid_claimed(const struct lb_shm *shm, const struct lb_wish *wish, uint32_t pool, uint32_t backend)
{
    struct lb_outcome *outcome = avoided(shm, wish->worker, backend);
    if (!outcome || (outcome->avoided == LB_AVOIDED_STOPPING && wish->sends == LB_SENDS_BYTES) ||
        until(outcome->avoid_until_ms, wish->now_ms, outcome->avoid_ms))
        return 0;
    if (outcome->on_trial && wish->datagrams) { /* the last trial was not refused */
        outcome->failures_in_row = 0;
        lb_avoid_end(outcome);
        return 0;
    }
    outcome->on_trial = 1;
    outcome->avoid_ms = trial_ms(shm, wish, outcome, pool);
    outcome->avoid_until_ms = wish->now_ms + outcome->avoid_ms;
    stay_wary(shm, wish->worker, pool, outcome->avoid_until_ms);
    return 1;
}

int lb_avoid_failed(const struct lb_shm *shm, uint32_t section, uint32_t pool, uint32_t backend, uint32_t now_ms)
{
    struct lb_outcome *outcome = lb_shm_outcome(shm, section, backend);
    uint32_t bound = shm->pools[pool].max_connect_failures;
    int was_trial = outcome->avoided && outcome->on_trial;
    int is_paused = outcome->avoided == LB_AVOIDED_UNREACHABLE && !was_trial && until(outcome->avoid_until_ms, now_ms, outcome->avoid_ms);
    if (!bound || outcome->failures_in_row < bound || is_paused) /* connects that were under way change no pause */
        return 0;
    uint32_t longer = outcome->pause_ms * 2;
    outcome->pause_ms = !was_trial ? FIRST_PAUSE_MS : longer < LONGEST_PAUSE_MS ? longer : LONGEST_PAUSE_MS;
    outcome->avoid_ms = outcome->pause_ms;
    outcome->avoid_until_ms = now_ms + outcome->avoid_ms;
    outcome->on_trial = 0;
    outcome->avoided = LB_AVOIDED_UNREACHABLE;
    stay_wary(shm, section, pool, outcome->avoid_until_ms);
    return was_trial;
}

void lb_avoid_suspect(const struct lb_shm *shm, uint32_t section, uint32_t backend, uint64_t now_us)
{
    struct lb_outcome *outcome = lb_shm_outcome(shm, section, backend);
    if (outcome->avoided == LB_AVOIDED_UNREACHABLE)
        return;
    outcome->suspected_us = (uint32_t)now_us;
    outcome->avoided = LB_AVOIDED_STOPPING;
    outcome->avoid_ms = 0;
    outcome->avoid_until_ms = (uint32_t)(now_us / 1000);
    outcome->on_trial = 0;
    stay_wary(shm, section, shm->backends[backend].pool, outcome->avoid_until_ms);
}
