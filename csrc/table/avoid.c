#include "avoid.h"

enum {
    FIRST_PAUSE_MS = 1000,
    LONGEST_PAUSE_MS = 8000,
    GRACE_MS = 1000,   /* a trial's health may come so much later than the limit of a connect */
    TRIAL_MS = 2000,   /* of a backend that may be stopping: so long a request is waited for before the next one tries it */
    HOLD_MS = 2000,    /* so long what must not be lost is kept from it */
    SILENCE_MS = 1000, /* udp: who is not refused for so long is reached, for it may never answer */
    REFUSALS = 3,      /* responses in a row that send requests elsewhere: so many may speak of their requests alone */
    MEMORY_MS = 60000, /* a backend that nobody has tried for so long is tried like any other */
};

/* Milliseconds from now to then, 0 when it is over; never more than `most`, whatever is left there from long ago. */
static uint32_t until(uint32_t then_ms, uint32_t now_ms, uint32_t most)
{
    uint32_t left = then_ms - now_ms;
    return left <= most ? left : 0;
}

static struct lb_backend_health *avoided(const struct lb_shm *shm, uint32_t section, uint32_t backend)
{
    struct lb_backend_health *health = lb_shm_health(shm, section, backend);
    return health->avoided && health->generation == shm->backends[backend].generation ? health : NULL;
}

static uint32_t trial_ms(const struct lb_shm *shm, const struct lb_wish *wish, const struct lb_backend_health *health,
                         uint32_t pool)
{
    if (health->avoided == LB_AVOIDED_STOPPING)
        return TRIAL_MS;
    return wish->datagrams ? SILENCE_MS : shm->pools[pool].connect_timeout_ms + GRACE_MS;
}

static void stay_wary(const struct lb_shm *shm, uint32_t section, uint32_t pool, uint32_t until_ms)
{
    __atomic_store_n(&lb_shm_budget(shm, section, pool)->wary_until_ms, until_ms + MEMORY_MS, __ATOMIC_RELAXED);
}

int lb_avoid_skips(const struct lb_shm *shm, const struct lb_wish *wish, uint32_t backend)
{
    const struct lb_backend_health *health = avoided(shm, wish->worker, backend);
    if (!health || (health->avoided == LB_AVOIDED_STOPPING && wish->sends == LB_SENDS_BYTES))
        return 0;
    if (health->avoided == LB_AVOIDED_ASKED)
        return until(health->avoid_until_ms, wish->now_ms, health->avoid_ms) != 0;
    uint32_t hold_ms = health->avoided == LB_AVOIDED_STOPPING && wish->sends == LB_SENDS_ONCE ? HOLD_MS : 0;
    return wish->tried_count || until(health->avoid_until_ms + hold_ms, wish->now_ms, health->avoid_ms + hold_ms);
}

int lb_avoid_picked(const struct lb_shm *shm, const struct lb_wish *wish, uint32_t pool, uint32_t backend)
{
    struct lb_backend_health *health = avoided(shm, wish->worker, backend);
    if (!health || (health->avoided == LB_AVOIDED_STOPPING && wish->sends == LB_SENDS_BYTES) ||
        until(health->avoid_until_ms, wish->now_ms, health->avoid_ms))
        return 0;
    if (health->avoided == LB_AVOIDED_ASKED) { /* the pause is over */
        lb_avoid_end(health);
        return 0;
    }
    if (health->on_trial && wish->datagrams) { /* the last trial was not refused */
        health->failures_in_row = 0;
        lb_avoid_end(health);
        return 0;
    }
    health->on_trial = 1;
    health->avoid_ms = trial_ms(shm, wish, health, pool);
    health->avoid_until_ms = wish->now_ms + health->avoid_ms;
    stay_wary(shm, wish->worker, pool, health->avoid_until_ms);
    return 1;
}

int lb_avoid_failed(const struct lb_shm *shm, uint32_t section, uint32_t pool, uint32_t backend, uint32_t now_ms)
{
    struct lb_backend_health *health = lb_shm_health(shm, section, backend);
    uint32_t bound = shm->pools[pool].max_connect_failures;
    int was_trial = health->avoided && health->on_trial;
    int is_paused =
        health->avoided == LB_AVOIDED_UNREACHABLE && !was_trial && until(health->avoid_until_ms, now_ms, health->avoid_ms);
    if (!bound || health->failures_in_row < bound || is_paused) /* connects that were under way change no pause */
        return 0;
    uint32_t longer = health->pause_ms * 2;
    health->pause_ms = !was_trial ? FIRST_PAUSE_MS : longer < LONGEST_PAUSE_MS ? longer : LONGEST_PAUSE_MS;
    health->avoid_ms = health->pause_ms;
    health->avoid_until_ms = now_ms + health->avoid_ms;
    health->on_trial = 0;
    health->avoided = LB_AVOIDED_UNREACHABLE;
    stay_wary(shm, section, pool, health->avoid_until_ms);
    return was_trial;
}

/* How long it is passed over now; 0: it is not. */
static uint32_t refusal_pause_ms(const struct lb_backend_health *health, int was_trial, uint32_t after_ms)
{
    if (after_ms)
        return after_ms < LB_AVOID_MOST_MS ? after_ms : LB_AVOID_MOST_MS;
    if (health->refusals_in_row < REFUSALS && !was_trial)
        return 0;
    uint32_t longer = health->pause_ms * 2;
    return !was_trial ? FIRST_PAUSE_MS : longer < LONGEST_PAUSE_MS ? longer : LONGEST_PAUSE_MS;
}

int lb_avoid_refused(const struct lb_shm *shm, uint32_t section, uint32_t pool, uint32_t backend, uint64_t now_us,
                     uint32_t after_ms)
{
    struct lb_backend_health *health = lb_shm_health(shm, section, backend);
    uint32_t now_ms = (uint32_t)(now_us / 1000);
    int was_trial = health->avoided && health->on_trial;
    uint32_t left_ms =
        health->avoided >= LB_AVOIDED_ASKED && !was_trial ? until(health->avoid_until_ms, now_ms, health->avoid_ms) : 0;
    health->refusals_in_row = (uint8_t)(health->refusals_in_row < REFUSALS ? health->refusals_in_row + 1 : REFUSALS);
    uint32_t pause_ms = refusal_pause_ms(health, was_trial, after_ms);
    if (health->avoided == LB_AVOIDED_UNREACHABLE || pause_ms <= left_ms) /* what was under way shortens no pause */
        return was_trial;
    health->pause_ms = pause_ms < LONGEST_PAUSE_MS ? pause_ms : LONGEST_PAUSE_MS;
    health->avoid_ms = pause_ms;
    health->avoid_until_ms = now_ms + pause_ms;
    health->suspected_us = (uint32_t)now_us;
    health->on_trial = 0;
    health->avoided = health->refusals_in_row < REFUSALS ? LB_AVOIDED_ASKED : LB_AVOIDED_REFUSING;
    stay_wary(shm, section, pool, health->avoid_until_ms);
    return was_trial;
}

void lb_avoid_suspect(const struct lb_shm *shm, uint32_t section, uint32_t backend, uint64_t now_us)
{
    struct lb_backend_health *health = lb_shm_health(shm, section, backend);
    if (health->avoided != LB_AVOIDED_NOT && health->avoided != LB_AVOIDED_STOPPING)
        return;
    health->suspected_us = (uint32_t)now_us;
    health->avoided = LB_AVOIDED_STOPPING;
    health->avoid_ms = 0;
    health->avoid_until_ms = (uint32_t)(now_us / 1000);
    health->on_trial = 0;
    stay_wary(shm, section, shm->backends[backend].pool, health->avoid_until_ms);
}
