#include "timer.h"

#include <stddef.h>

void lb_wheel_open(struct lb_wheel *wheel, uint64_t now_ms)
{
    *wheel = (struct lb_wheel){.now = now_ms / LB_TIMER_TICK_MS, .soonest = UINT64_MAX};
    for (int i = 0; i < LB_TIMER_SLOTS; i++)
        wheel->slots[i].next = wheel->slots[i].prev = &wheel->slots[i];
}

static void put(struct lb_wheel *wheel, struct lb_timer *timer)
{
    uint64_t slot = timer->due % LB_TIMER_SLOTS;
    struct lb_timer *head = &wheel->slots[slot];
    timer->prev = head->prev;
    timer->next = head;
    head->prev->next = timer;
    head->prev = timer;
    wheel->filled[slot / 64] |= UINT64_C(1) << slot % 64;
    uint64_t look = wheel->now + 1 + (timer->due - wheel->now - 1) % LB_TIMER_SLOTS;
    if (look < wheel->soonest)
        wheel->soonest = look;
}

void lb_timer_set(struct lb_wheel *wheel, struct lb_timer *timer, uint64_t deadline_ms)
{
    lb_timer_cancel(timer);
    timer->due = (deadline_ms + LB_TIMER_TICK_MS - 1) / LB_TIMER_TICK_MS;
    if (timer->due <= wheel->now)
        timer->due = wheel->now + 1;
    put(wheel, timer);
}

void lb_timer_set_within(struct lb_wheel *wheel, struct lb_timer *timer, uint64_t deadline_ms)
{
    if (!timer->next || timer->due * LB_TIMER_TICK_MS > deadline_ms + LB_TIMER_TICK_MS)
        lb_timer_set(wheel, timer, deadline_ms);
}

void lb_timer_cancel(struct lb_timer *timer)
{
    if (!timer->next)
        return;
    timer->prev->next = timer->next;
    timer->next->prev = timer->prev;
    timer->next = timer->prev = NULL;
}

/* Take the slot's whole list off first: what fire() sets again never lands in the list under way. */
static void turn_slot(struct lb_wheel *wheel, uint64_t slot, lb_timer_fn fire, void *context)
{
    struct lb_timer *head = &wheel->slots[slot], todo;
    wheel->filled[slot / 64] &= ~(UINT64_C(1) << slot % 64);
    if (head->next == head)
        return;
    todo = *head;
    todo.next->prev = todo.prev->next = &todo;
    head->next = head->prev = head;
    while (todo.next != &todo) {
        struct lb_timer *timer = todo.next;
        lb_timer_cancel(timer);
        if (timer->due > wheel->now)
            put(wheel, timer);
        else
            fire(context, timer);
    }
}

/* The first slot after now that may hold timers: the tick at which its turn comes. */
static uint64_t find_soonest(const struct lb_wheel *wheel)
{
    for (uint64_t i = 1; i <= LB_TIMER_SLOTS;) {
        uint64_t slot = (wheel->now + i) % LB_TIMER_SLOTS, word = wheel->filled[slot / 64] >> slot % 64;
        if (word)
            return wheel->now + i + (uint64_t)__builtin_ctzll(word);
        i += 64 - slot % 64;
    }
    return UINT64_MAX;
}

void lb_wheel_turn(struct lb_wheel *wheel, uint64_t now_ms, lb_timer_fn fire, void *context)
{
    uint64_t target = now_ms / LB_TIMER_TICK_MS, from = wheel->now;
    if (target <= from)
        return;
    wheel->now = target;
    if (target < wheel->soonest)
        return;
    uint64_t steps = target - from < LB_TIMER_SLOTS ? target - from : LB_TIMER_SLOTS;
    for (uint64_t i = 1; i <= steps; i++) {
        uint64_t slot = (from + i) % LB_TIMER_SLOTS;
        if (wheel->filled[slot / 64] >> slot % 64 & 1)
            turn_slot(wheel, slot, fire, context);
    }
    wheel->soonest = find_soonest(wheel);
}

int lb_wheel_wait(const struct lb_wheel *wheel, uint64_t now_ms)
{
    if (wheel->soonest == UINT64_MAX)
        return -1;
    uint64_t at_ms = wheel->soonest * LB_TIMER_TICK_MS;
    return at_ms > now_ms ? (int)(at_ms - now_ms) : 0;
}
