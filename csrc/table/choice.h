/* A choice under way: what every policy asks of a backend. Reads shared memory, writes nothing but the thought. */
#ifndef LB_CHOICE_H
#define LB_CHOICE_H

#include <math.h>

#include "../core/random.h"
#include "avoid.h"
#include "wish.h"

#define LB_BOUNDED_LOAD 1.25f
#define LB_BOUND_SLACK 10.0f
#define LB_FIRST_SHARE 0.02f /* slow start begins with so much: a backend without any request never warms up */

/* What a worker remembers between picks of one pool. */
struct lb_cursor {
    uint64_t seed; /* of xorshift64*; never 0 */
    uint32_t turn; /* next slot of the schedule */
};

/* One decision: whom to choose from, and for whom. */
struct lb_choice {
    const struct lb_shm *shm;
    const uint32_t *members;
    const uint32_t *slots;
    uint32_t member_count;
    uint32_t slot_count;
    uint32_t reserve_count; /* backends of higher tiers, which follow the members */
    uint32_t pool;
    uint32_t max_active;
    uint32_t tier;   /* of the members */
    uint64_t weight; /* of all members */
    const struct lb_wish *wish;
};

static inline float lb_read_cost(const float *at)
{
    float cost;
    __atomic_load(at, &cost, __ATOMIC_RELAXED);
    return cost;
}

/* Negative: there is more to it in the row. */
static inline float lb_choice_raw_cost(const struct lb_choice *choice, uint32_t backend)
{
    return backend < choice->shm->head->max_backends ? lb_read_cost(&choice->shm->costs[backend]) : INFINITY;
}

static inline float lb_choice_cost(const struct lb_choice *choice, uint32_t backend)
{
    return fabsf(lb_choice_raw_cost(choice, backend));
}

/* How much of its share may a backend have: less than 1 while it ramps up. */
static inline float lb_choice_ramp(const struct lb_choice *choice, uint32_t backend)
{
    const struct lb_backend_row *row = &choice->shm->backends[backend];
    uint32_t ramp_ms = __atomic_load_n(&row->ramp_ms, __ATOMIC_RELAXED);
    uint32_t age_ms = choice->wish->now_ms - __atomic_load_n(&row->ramp_from_ms, __ATOMIC_RELAXED);
    if (!ramp_ms || (age_ms >= ramp_ms && age_ms < UINT32_MAX / 2))
        return 1;
    float share = age_ms < ramp_ms ? (float)age_ms / (float)ramp_ms : 0;
    return share > LB_FIRST_SHARE ? share : LB_FIRST_SHARE;
}

static inline float lb_choice_elsewhere(const struct lb_choice *choice, uint32_t backend)
{
    return lb_read_cost(&choice->shm->backends[backend].elsewhere);
}

/* What is under way on a backend, in units of cost. */
static inline float lb_choice_work(const struct lb_choice *choice, uint32_t backend)
{
    float here = (float)lb_shm_charge(choice->shm, backend);
    return lb_choice_raw_cost(choice, backend) < 0 ? here + lb_choice_elsewhere(choice, backend) : here;
}

static inline int lb_wish_tried(const struct lb_wish *wish, uint32_t backend)
{
    for (uint32_t i = 0; i < wish->tried_count; i++)
        if (wish->tried[i] == backend)
            return 1;
    return 0;
}

/* Was it tried, or is it passed over? */
static inline int lb_choice_is_out(const struct lb_choice *choice, uint32_t backend)
{
    return lb_wish_tried(choice->wish, backend) || (choice->wish->wary && lb_avoid_skips(choice->shm, choice->wish, backend));
}

static inline int lb_choice_is_full(const struct lb_choice *choice, uint32_t backend)
{
    return choice->max_active && lb_shm_in_flight(choice->shm, backend) >= choice->max_active;
}

static inline int lb_choice_usable(const struct lb_choice *choice, uint32_t backend)
{
    return !lb_choice_is_out(choice, backend) && lb_choice_cost(choice, backend) < INFINITY &&
           !lb_choice_is_full(choice, backend);
}

static inline uint32_t lb_entry(const uint32_t *array, uint32_t at)
{
    return __atomic_load_n(&array[at], __ATOMIC_RELAXED);
}

static inline uint32_t lb_draw(struct lb_cursor *cursor, uint32_t below)
{
    uint32_t high = (uint32_t)(lb_random_next(&cursor->seed) >> 32);
    return (uint32_t)(((uint64_t)high * below) >> 32);
}

/* Does a turn that falls to this backend hold, or is it one that slow start gives to others? */
static inline int lb_choice_admits(const struct lb_choice *choice, struct lb_cursor *cursor, uint32_t backend)
{
    if (lb_choice_raw_cost(choice, backend) >= 0)
        return 1;
    float share = lb_choice_ramp(choice, backend);
    return share >= 1 || (float)lb_draw(cursor, 1 << 16) < share * (1 << 16);
}

/* May this backend take one more, or has it more than a quarter and more than LB_BOUND_SLACK over its share already? all: what is under
 * way in the pool. The relative part alone, which is the paper's c (Mirrokni, Thorup and Zadimoghaddam), would take what is mere chance for
 * too much: of four requests a backend, eight is nothing special (python -m bench.prefix). */
static inline int lb_choice_within_bound(const struct lb_choice *choice, uint32_t backend, float all)
{
    float share = (all + 1) * (float)choice->shm->backends[backend].weight / (float)choice->weight;
    float relative = LB_BOUNDED_LOAD * share, absolute = share + LB_BOUND_SLACK;
    return lb_choice_work(choice, backend) + 1 <= ceilf(relative > absolute ? relative : absolute);
}

static inline void lb_choice_think(const struct lb_choice *choice, enum lb_why why)
{
    if (choice->wish->thought)
        choice->wish->thought->why = (uint8_t)why;
}

static inline void lb_choice_compare(const struct lb_choice *choice, uint32_t at, uint32_t backend, float score)
{
    if (choice->wish->thought) {
        choice->wish->thought->candidate[at] = backend;
        choice->wish->thought->score[at] = score;
    }
}

#endif
