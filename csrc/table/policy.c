#include "policy.h"

#include <math.h>

#include "../core/random.h"
#include "../core/siphash.h"
#include "avoid.h"
#include "by_prefix.h"
#include "load.h"

#define NOT_ASKED (-1.0f)

enum { TRIES = 16 }; /* slots looked at before the members are searched one by one */

#define EWMA_TAU_MS 10000.0f     /* Finagle's: what is older than this hardly counts */
#define EWMA_TAU_RESPONSES 10.0f /* and so many times the latency: of responses that take a minute more must be remembered */
#define UNKNOWN_US 1000000.0f    /* a backend that has not answered its first exchanges yet is not flooded with more */

int lb_policy_takes_sessions(const struct lb_shm *shm, const struct lb_wish *wish, uint32_t backend)
{
    return fabsf(lb_read_cost(&shm->costs[backend])) < INFINITY && !lb_wish_tried(wish, backend);
}

/* The members one by one from anywhere: what is left when the schedule offered nobody. */
static uint32_t search(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    uint32_t start = lb_draw(cursor, choice->member_count);
    lb_choice_think(choice, LB_WHY_SEARCH);
    for (uint32_t i = 0; i < choice->member_count; i++) {
        uint32_t at = start + i < choice->member_count ? start + i : start + i - choice->member_count;
        uint32_t backend = lb_entry(choice->members, at);
        if (lb_choice_usable(choice, backend))
            return backend;
    }
    lb_choice_think(choice, LB_WHY_NONE);
    return LB_NONE;
}

static uint32_t round_robin(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    lb_choice_think(choice, LB_WHY_TURN);
    for (uint32_t i = 0; i < TRIES; i++) {
        if (cursor->turn >= choice->slot_count)
            cursor->turn = 0;
        uint32_t backend = lb_entry(choice->slots, cursor->turn++);
        if (lb_choice_usable(choice, backend) && lb_choice_admits(choice, cursor, backend))
            return backend;
    }
    return search(choice, cursor);
}

static uint32_t weighted_random(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    lb_choice_think(choice, LB_WHY_TURN);
    for (uint32_t i = 0; i < TRIES; i++) {
        uint32_t backend = lb_entry(choice->slots, lb_draw(cursor, choice->slot_count));
        if (lb_choice_usable(choice, backend) && lb_choice_admits(choice, cursor, backend))
            return backend;
    }
    return search(choice, cursor);
}

static float burden(const struct lb_choice *choice, uint32_t backend)
{
    return lb_choice_work(choice, backend) * lb_choice_cost(choice, backend);
}

/* What is left of a figure after this time: where a response takes long, a second of memory holds nothing. */
static float left_of(const struct lb_backend_health *health, float age_ms)
{
    float tau_ms = EWMA_TAU_MS + EWMA_TAU_RESPONSES * (float)health->latency_us / 1000;
    return age_ms > 0 ? expf(-age_ms / tau_ms) : 1;
}

static float peak_now(const struct lb_backend_health *health, uint32_t now_ms)
{
    return health->peak_us * left_of(health, (float)(int32_t)(now_ms - health->peak_ms));
}

void lb_policy_observe(struct lb_backend_health *health, uint32_t latency_us, uint32_t now_ms)
{
    float seen = (float)latency_us, kept = peak_now(health, now_ms);
    float age_ms = (float)(int32_t)(now_ms - health->peak_ms);
    float share = health->peak_us > 0 && age_ms > 0 ? left_of(health, age_ms) : 0;
    health->peak_us = seen >= kept ? seen : health->peak_us * share + seen * (1 - share);
    health->peak_ms = now_ms;
}

static float delay(const struct lb_choice *choice, uint32_t backend)
{
    const struct lb_wish *wish = choice->wish;
    const struct lb_backend_health *health = lb_shm_health(choice->shm, wish->worker, backend);
    float in_flight = lb_choice_work(choice, backend), peak_us = 0;
    if (health->generation == choice->shm->backends[backend].generation)
        peak_us = peak_now(health, wish->now_ms);
    if (peak_us <= 0)
        return in_flight * UNKNOWN_US * lb_choice_cost(choice, backend);
    return peak_us * (in_flight + 1) * lb_choice_cost(choice, backend);
}

static uint32_t better_of_two(const struct lb_choice *choice, struct lb_cursor *cursor,
                              float (*score)(const struct lb_choice *, uint32_t))
{
    uint32_t first = weighted_random(choice, cursor);
    uint32_t second = weighted_random(choice, cursor);
    for (uint32_t i = 0; i < TRIES && second == first && choice->member_count > 1; i++)
        second = weighted_random(choice, cursor);
    if (first == LB_NONE || second == LB_NONE)
        return LB_NONE;
    if (first == second) {
        lb_choice_compare(choice, 0, first, NOT_ASKED);
        lb_choice_think(choice, LB_WHY_ALONE);
        return first;
    }
    float one = score(choice, first), other = score(choice, second);
    lb_choice_compare(choice, 0, first, one);
    lb_choice_compare(choice, 1, second, other);
    lb_choice_think(choice, LB_WHY_BETTER);
    return other < one ? second : first;
}

static uint64_t hash_again(uint64_t key)
{
    key = (key ^ key >> 33) * UINT64_C(0xff51afd7ed558ccd); /* Murmur3's finalizer */
    key = (key ^ key >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return key ^ key >> 33;
}

/* Of a backend in slow start, a growing share of the keys: the same ones each time. */
static int owns(const struct lb_choice *choice, uint32_t backend, uint64_t key)
{
    if (lb_choice_raw_cost(choice, backend) >= 0)
        return 1;
    return (float)(hash_again(key) >> 48) < lb_choice_ramp(choice, backend) * (1 << 16);
}

static uint32_t by_key(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    float all = (float)lb_load_of_pool(choice->shm, choice->pool);
    uint64_t key = choice->wish->key;
    for (uint32_t i = 0; i < TRIES; i++, key = hash_again(key)) {
        uint32_t backend = lb_entry(choice->slots, (uint32_t)(key % choice->slot_count));
        if (lb_choice_usable(choice, backend) && owns(choice, backend, key) && lb_choice_within_bound(choice, backend, all)) {
            lb_choice_think(choice, i ? LB_WHY_MOVED : LB_WHY_KEY);
            return backend;
        }
    }
    return search(choice, cursor);
}

/* Of what has no text at all, no backend knows more than another. */
static uint32_t by_text(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    const struct lb_blocks *blocks = choice->wish->blocks;
    uint32_t backend = blocks && blocks->count ? lb_pick_by_prefix(choice, cursor) : better_of_two(choice, cursor, burden);
    return backend == LB_NONE ? search(choice, cursor) : backend;
}

/* Every section's charges, as arrays by backend row. */
struct charges {
    const uint32_t *by_section[LB_MAX_WORKERS + LB_PICKERS];
    uint32_t sections;
};

static inline uint32_t charge_on(const struct charges *all, uint32_t backend)
{
    uint32_t sum = lb_entry(all->by_section[0], backend);
    for (uint32_t section = 1; section < all->sections; section++)
        sum += lb_entry(all->by_section[section], backend);
    return sum;
}

/* Of a backend whose row says more: what it has from elsewhere counts, and one that ramps up is counted as fuller than it is, one
 * more and divided by its share; its own turn of the schedule stays to it. */
static __attribute__((noinline, cold)) float heavier(const struct lb_choice *choice, uint32_t backend, float charge)
{
    float share = lb_choice_ramp(choice, backend), work = charge + lb_choice_elsewhere(choice, backend);
    return (share < 1 ? (work + 1) / share : work) * lb_choice_cost(choice, backend);
}

/* The loop is the cost of least_conn: what can be hoisted is, and only a better one is asked whether it was tried. */
static uint32_t least_conn(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    const struct lb_shm *shm = choice->shm;
    const uint32_t limit = shm->head->max_backends, count = choice->member_count, *members = choice->members;
    const float *costs = shm->costs;
    struct charges all = {.sections = lb_shm_sections(shm)};
    for (uint32_t section = 0; section < all.sections; section++)
        all.by_section[section] = lb_shm_charged(shm, section);

    uint32_t best = round_robin(choice, cursor);
    if (best == LB_NONE)
        return LB_NONE;
    float least = burden(choice, best);
    lb_choice_compare(choice, 0, best, least);
    for (uint32_t i = 0; i < count && least > 0; i++) { /* nobody has fewer than none */
        uint32_t backend = lb_entry(members, i);
        if (backend >= limit)
            continue;
        float cost = lb_read_cost(&costs[backend]), here = (float)(int32_t)charge_on(&all, backend) * cost;
        if (__builtin_expect(here >= least, 1))
            continue;
        if (cost < 0) /* there is more to it */
            here = heavier(choice, backend, (float)charge_on(&all, backend));
        if (here < least && lb_choice_usable(choice, backend)) {
            best = backend;
            least = here;
        }
    }
    lb_choice_think(choice, LB_WHY_LEAST);
    lb_choice_compare(choice, 1, best, least);
    return best;
}

uint64_t lb_policy_key(const void *bytes, size_t count)
{
    static const uint8_t key[16] = "lbcore request1";
    return lb_siphash(key, bytes, count);
}

/* Does a member only lack room? It is waited for: full is not gone. */
static int any_is_full(const struct lb_choice *choice)
{
    for (uint32_t i = 0; choice->max_active && i < choice->member_count; i++) {
        uint32_t backend = lb_entry(choice->members, i);
        if (!lb_choice_is_out(choice, backend) && lb_choice_cost(choice, backend) < INFINITY &&
            lb_choice_is_full(choice, backend))
            return 1;
    }
    return 0;
}

/* The first that can be had of those behind the members, tier after tier; within a tier from anywhere. There, too, full is not gone. */
static uint32_t from_reserve(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    uint32_t best = LB_NONE, lowest = UINT32_MAX, full = UINT32_MAX, start = lb_draw(cursor, choice->reserve_count);
    if (any_is_full(choice))
        return LB_NONE;
    for (uint32_t i = 0; i < choice->reserve_count; i++) {
        uint32_t at = start + i < choice->reserve_count ? start + i : start + i - choice->reserve_count;
        uint32_t backend = lb_entry(choice->members, choice->member_count + at);
        if (lb_choice_is_out(choice, backend) || lb_choice_cost(choice, backend) == INFINITY)
            continue;
        uint32_t tier = choice->shm->backends[backend].tier;
        if (lb_choice_is_full(choice, backend)) {
            full = tier < full ? tier : full;
        } else if (tier < lowest) {
            lowest = tier;
            best = backend;
        }
    }
    if (full < lowest)
        return LB_NONE;
    if (best != LB_NONE)
        lb_choice_think(choice, LB_WHY_RESERVE);
    return best;
}

static uint32_t among_members(uint32_t policy, const struct lb_choice *choice, struct lb_cursor *cursor)
{
    switch ((enum lb_policy)policy) {
    case LB_ROUND_ROBIN:
        return round_robin(choice, cursor);
    case LB_LEAST_CONN:
        return least_conn(choice, cursor);
    case LB_RANDOM:
        return weighted_random(choice, cursor);
    case LB_P2C:
        return better_of_two(choice, cursor, burden);
    case LB_EWMA:
        return better_of_two(choice, cursor, delay);
    case LB_MAGLEV:
        return by_key(choice, cursor);
    case LB_PREFIX:
        return by_text(choice, cursor);
    }
    return LB_NONE;
}

uint32_t lb_policy_pick(uint32_t policy, const struct lb_choice *choice, struct lb_cursor *cursor)
{
    if (choice->wish->thought)
        *choice->wish->thought = (struct lb_thought){.candidate = {LB_NONE, LB_NONE}, .score = {NOT_ASKED, NOT_ASKED}};
    if (!choice->member_count || !choice->slot_count)
        return LB_NONE;
    uint32_t backend = among_members(policy, choice, cursor);
    if (__builtin_expect(backend == LB_NONE && choice->reserve_count, 0))
        return from_reserve(choice, cursor);
    return backend;
}
