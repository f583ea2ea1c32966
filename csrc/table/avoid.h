/* Backends that a section passes over by itself, until a verdict of the control plane comes or while there is none: those that failed
 * max_connect_failures connects in a row. After a pause, which doubles with each failed trial, single sessions try such a backend again,
 * one at a time; the first success ends it. Kept in the outcome, which only the section's owner writes. */
#ifndef LB_AVOID_H
#define LB_AVOID_H

#include "policy.h"
#include "shm.h"

/* Is any backend of the pool passed over, so that a pick has to look? */
static inline int lb_avoid_is_wary(const struct lb_shm *shm, uint32_t section, uint32_t pool, uint32_t now_ms)
{
    return (int32_t)(lb_shm_budget(shm, section, pool)->wary_until_ms - now_ms) > 0;
}

/* Does this wish pass the backend over? A trial is only for those who have tried nobody yet: they can go on to somebody else. */
int lb_avoid_skips(const struct lb_shm *shm, const struct lb_wish *wish, uint32_t backend);

/* The wish has got this backend. 1: as a trial, and nobody else gets it before that is over, or was due to be. */
int lb_avoid_claimed(const struct lb_shm *shm, const struct lb_wish *wish, uint32_t pool, uint32_t backend);

/* A connect failed; outcome->failures_in_row is counted already. 1: it was a trial. */
int lb_avoid_failed(const struct lb_shm *shm, uint32_t section, uint32_t pool, uint32_t backend, uint32_t now_ms);

/* It was reached. */
static inline void lb_avoid_end(struct lb_outcome *outcome)
{
    if (__builtin_expect(outcome->avoided, 0)) {
        outcome->avoid_ms = 0;
        outcome->on_trial = 0;
        outcome->avoided = 0;
    }
}

#endif
