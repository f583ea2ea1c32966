/* A hashed timing wheel (Varghese and Lauck, 1987): O(1) to set and to cancel. Deadlines beyond one round stay on the
 * wheel and are looked at once a round. A timer fires at its deadline or up to one tick later. */
#ifndef LB_TIMER_H
#define LB_TIMER_H

#include <stdint.h>

enum { LB_TIMER_TICK_MS = 16, LB_TIMER_SLOTS = 1024 };

struct lb_timer {
    struct lb_timer *next; /* NULL: not set */
    struct lb_timer *prev;
    uint64_t due; /* tick */
};

struct lb_wheel {
    struct lb_timer slots[LB_TIMER_SLOTS]; /* heads of circular lists */
    uint64_t filled[LB_TIMER_SLOTS / 64];  /* which of them may hold timers */
    uint64_t now;                          /* tick up to which all due timers have fired */
    uint64_t soonest;                      /* no slot is to be looked at before this tick; UINT64_MAX: none at all */
};

typedef void (*lb_timer_fn)(void *context, struct lb_timer *timer);

void lb_wheel_open(struct lb_wheel *wheel, uint64_t now_ms);

/* Set or move a timer. */
void lb_timer_set(struct lb_wheel *wheel, struct lb_timer *timer, uint64_t deadline_ms);
/* See that it fires by then: one that is set to fire before is left as it is. For owners that look again when it fires. */
void lb_timer_set_within(struct lb_wheel *wheel, struct lb_timer *timer, uint64_t deadline_ms);
void lb_timer_cancel(struct lb_timer *timer);

/* Fire what is due: each timer is unset before fire() sees it, and may be set again there. */
void lb_wheel_turn(struct lb_wheel *wheel, uint64_t now_ms, lb_timer_fn fire, void *context);

/* Milliseconds until the wheel wants to be turned again; -1 if it is empty. */
int lb_wheel_wait(const struct lb_wheel *wheel, uint64_t now_ms);

#endif
