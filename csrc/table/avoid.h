/* Backends that a section passes over by itself, until a verdict of the control plane comes or while there is none. Kept in the health,
 * which only the section's owner writes.
 *
 * UNREACHABLE: it failed max_connect_failures connects in a row. After a pause, which doubles with each failed trial, single sessions try
 * it again, one at a time; the first success ends it.
 * STOPPING: there was a sign that it is about to end. Single requests that may be repeated try it at once, others after a while; the
 * first response ends it. Sessions that are no exchanges, and clients that are bound to it by a cookie, do not mind.
 * ASKED: a response sent its request elsewhere and asked for a pause (Retry-After): it gets none until then.
 * REFUSING: several such responses came in a row. As UNREACHABLE; the first other response ends it. */
#ifndef LB_AVOID_H
#define LB_AVOID_H

#include "wish.h"

enum { LB_AVOID_MOST_MS = 60000 }; /* the longest pause that a backend is given */

/* Is any backend of the pool passed over, so that a pick has to look? */
static inline int lb_avoid_is_wary(const struct lb_shm *shm, uint32_t section, uint32_t pool, uint32_t now_ms)
{
    return (int32_t)(lb_shm_budget(shm, section, pool)->wary_until_ms - now_ms) > 0;
}

/* Does this wish pass the backend over? A trial is only for those who have tried nobody yet: they can go on to somebody else. */
int lb_avoid_skips(const struct lb_shm *shm, const struct lb_wish *wish, uint32_t backend);

/* The wish has got this backend. 1: as a trial, and nobody else gets it before that is over, or was due to be. */
int lb_avoid_picked(const struct lb_shm *shm, const struct lb_wish *wish, uint32_t pool, uint32_t backend);

/* A connect failed; health->failures_in_row is counted already. 1: it was a trial. */
int lb_avoid_failed(const struct lb_shm *shm, uint32_t section, uint32_t pool, uint32_t backend, uint32_t now_ms);

/* A response of that status sent its request elsewhere. after_ms: the pause that it asked for; 0: none. 1: it was a trial. */
int lb_avoid_refused(const struct lb_shm *shm, uint32_t section, uint32_t pool, uint32_t backend, uint64_t now_us,
                     uint32_t after_ms);

/* A sign that it is stopping, though it accepts connections (l7/stopping.c). */
void lb_avoid_suspect(const struct lb_shm *shm, uint32_t section, uint32_t backend, uint64_t now_us);

static inline void lb_avoid_end(struct lb_backend_health *health)
{
    health->avoid_ms = 0;
    health->on_trial = 0;
    health->avoided = LB_AVOIDED_NOT;
}

/* It was reached: enough for one that could not be, not for one that may be stopping. */
static inline void lb_avoid_reached(struct lb_backend_health *health)
{
    if (__builtin_expect(health->avoided == LB_AVOIDED_UNREACHABLE, 0))
        lb_avoid_end(health);
}

/* A response came to a request that was sent then (monotonic, low 32 bits): to one that was sent after the sign it is the proof. */
static inline void lb_avoid_heard(struct lb_backend_health *health, uint32_t sent_us)
{
    if (__builtin_expect(health->avoided == LB_AVOIDED_STOPPING, 0) && (int32_t)(sent_us - health->suspected_us) > 0)
        lb_avoid_end(health);
}

/* Likewise, and it was none that sends requests elsewhere. */
static inline void lb_avoid_served(struct lb_backend_health *health, uint32_t sent_us)
{
    health->refusals_in_row = 0;
    if (health->avoided >= LB_AVOIDED_ASKED && (int32_t)(sent_us - health->suspected_us) > 0)
        lb_avoid_end(health);
}

#endif
