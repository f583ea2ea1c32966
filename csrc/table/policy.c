#include "policy.h"

#include <math.h>

#include "../core/random.h"
#include "../core/siphash.h"
#include "avoid.h"
#include "load.h"

#define NOT_ASKED (-1.0f)

enum { TRIES = 16 }; /* slots looked at before the members are searched one by one */

#define EWMA_TAU_MS 10000.0f     /* Finagle's: what is older than this hardly counts */
#define EWMA_TAU_RESPONSES 10.0f /* and so many times the latency: of responses that take a minute more must be remembered */
#define UNKNOWN_US 1000000.0f    /* a backend that has not answered its first exchanges yet is not flooded with more */
#define BOUNDED_LOAD 1.25f       /* the paper's c */
#define FIRST_SHARE 0.02f        /* slow start begins with so much: a backend without any request never warms up */
#define BOUND_FLOOR 4.0f         /* under so much, keeping a key together is worth more than evenness */

static inline float read_cost(const float *at)
{
    float cost;
    __atomic_load(at, &cost, __ATOMIC_RELAXED);
    return cost;
}

/* Negative: there is more to it in the row. */
static float raw_cost(const struct lb_choice *choice, uint32_t backend)
{
    return backend < choice->shm->head->max_backends ? read_cost(&choice->shm->costs[backend]) : INFINITY;
}

static float cost_of(const struct lb_choice *choice, uint32_t backend)
{
    return fabsf(raw_cost(choice, backend));
}

/* How much of its share may a backend have: less than 1 while it ramps up. */
static float ramp_of(const struct lb_choice *choice, uint32_t backend)
{
    const struct lb_backend_row *row = &choice->shm->backends[backend];
    uint32_t ramp_ms = __atomic_load_n(&row->ramp_ms, __ATOMIC_RELAXED);
    uint32_t age_ms = choice->wish->now_ms - __atomic_load_n(&row->ramp_from_ms, __ATOMIC_RELAXED);
    if (!ramp_ms || (age_ms >= ramp_ms && age_ms < UINT32_MAX / 2))
        return 1;
    float share = age_ms < ramp_ms ? (float)age_ms / (float)ramp_ms : 0;
    return share > FIRST_SHARE ? share : FIRST_SHARE;
}

static float elsewhere(const struct lb_choice *choice, uint32_t backend)
{
    return read_cost(&choice->shm->backends[backend].elsewhere);
}

/* What is under way on a backend, in units of cost. */
static float work_on(const struct lb_choice *choice, uint32_t backend)
{
    float here = (float)lb_shm_charge(choice->shm, backend);
    return raw_cost(choice, backend) < 0 ? here + elsewhere(choice, backend) : here;
}

static int was_tried(const struct lb_wish *wish, uint32_t backend)
{
    for (uint32_t i = 0; i < wish->tried_count; i++)
        if (wish->tried[i] == backend)
            return 1;
    return 0;
}

int lb_policy_takes_sessions(const struct lb_shm *shm, const struct lb_wish *wish, uint32_t backend)
{
    return fabsf(read_cost(&shm->costs[backend])) < INFINITY && !was_tried(wish, backend);
}

/* Was it tried, or is it passed over? */
static int is_out(const struct lb_choice *choice, uint32_t backend)
{
    return was_tried(choice->wish, backend) || (choice->wish->wary && lb_avoid_skips(choice->shm, choice->wish, backend));
}

static int is_full(const struct lb_choice *choice, uint32_t backend)
{
    return choice->max_active && lb_shm_in_flight(choice->shm, backend) >= choice->max_active;
}

static int usable(const struct lb_choice *choice, uint32_t backend)
{
    return !is_out(choice, backend) && cost_of(choice, backend) < INFINITY && !is_full(choice, backend);
}

static uint32_t entry(const uint32_t *array, uint32_t at)
{
    return __atomic_load_n(&array[at], __ATOMIC_RELAXED);
}

static uint32_t draw(struct lb_cursor *cursor, uint32_t below)
{
    uint32_t high = (uint32_t)(lb_random_next(&cursor->seed) >> 32);
    return (uint32_t)(((uint64_t)high * below) >> 32);
}

/* Does a turn that falls to this backend hold, or is it one that slow start gives to others? */
static int admitted(const struct lb_choice *choice, struct lb_cursor *cursor, uint32_t backend)
{
    if (raw_cost(choice, backend) >= 0)
        return 1;
    float share = ramp_of(choice, backend);
    return share >= 1 || (float)draw(cursor, 1 << 16) < share * (1 << 16);
}

static void think(const struct lb_choice *choice, enum lb_why why)
{
    if (choice->wish->thought)
        choice->wish->thought->why = (uint8_t)why;
}

static void compare(const struct lb_choice *choice, uint32_t at, uint32_t backend, float score)
{
    if (choice->wish->thought) {
        choice->wish->thought->candidate[at] = backend;
        choice->wish->thought->score[at] = score;
    }
}

/* The members one by one from anywhere: what is left when the schedule offered nobody. */
static uint32_t search(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    uint32_t start = draw(cursor, choice->member_count);
    think(choice, LB_WHY_SEARCH);
    for (uint32_t i = 0; i < choice->member_count; i++) {
        uint32_t at = start + i < choice->member_count ? start + i : start + i - choice->member_count;
        uint32_t backend = entry(choice->members, at);
        if (usable(choice, backend))
            return backend;
    }
    think(choice, LB_WHY_NONE);
    return LB_NONE;
}

static uint32_t round_robin(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    think(choice, LB_WHY_TURN);
    for (uint32_t i = 0; i < TRIES; i++) {
        if (cursor->turn >= choice->slot_count)
            cursor->turn = 0;
        uint32_t backend = entry(choice->slots, cursor->turn++);
        if (usable(choice, backend) && admitted(choice, cursor, backend))
            return backend;
    }
    return search(choice, cursor);
}

static uint32_t weighted_random(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    think(choice, LB_WHY_TURN);
    for (uint32_t i = 0; i < TRIES; i++) {
        uint32_t backend = entry(choice->slots, draw(cursor, choice->slot_count));
        if (usable(choice, backend) && admitted(choice, cursor, backend))
            return backend;
    }
    return search(choice, cursor);
}

static float burden(const struct lb_choice *choice, uint32_t backend)
{
    return work_on(choice, backend) * cost_of(choice, backend);
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
    float in_flight = work_on(choice, backend), peak_us = 0;
    if (health->generation == choice->shm->backends[backend].generation)
        peak_us = peak_now(health, wish->now_ms);
    if (peak_us <= 0)
        return in_flight * UNKNOWN_US * cost_of(choice, backend);
    return peak_us * (in_flight + 1) * cost_of(choice, backend);
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
        compare(choice, 0, first, NOT_ASKED);
        think(choice, LB_WHY_ALONE);
        return first;
    }
    float one = score(choice, first), other = score(choice, second);
    compare(choice, 0, first, one);
    compare(choice, 1, second, other);
    think(choice, LB_WHY_BETTER);
    return other < one ? second : first;
}

/* May this backend take one more, or has it its share and a quarter already? */
static int within_bound(const struct lb_choice *choice, uint32_t backend, float all)
{
    float share = (float)choice->shm->backends[backend].weight / (float)choice->weight;
    float bound = BOUNDED_LOAD * (all + 1) * share;
    return work_on(choice, backend) + 1 <= (bound < BOUND_FLOOR ? BOUND_FLOOR : ceilf(bound));
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
    if (raw_cost(choice, backend) >= 0)
        return 1;
    return (float)(hash_again(key) >> 48) < ramp_of(choice, backend) * (1 << 16);
}

static uint32_t by_key(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    float all = (float)lb_load_of_pool(choice->shm, choice->pool);
    uint64_t key = choice->wish->key;
    for (uint32_t i = 0; i < TRIES; i++, key = hash_again(key)) {
        uint32_t backend = entry(choice->slots, (uint32_t)(key % choice->slot_count));
        if (usable(choice, backend) && owns(choice, backend, key) && within_bound(choice, backend, all)) {
            think(choice, i ? LB_WHY_MOVED : LB_WHY_KEY);
            return backend;
        }
    }
    return search(choice, cursor);
}

/* Every section's charges, as arrays by backend row. */
struct charges {
    const uint32_t *by_section[LB_MAX_WORKERS + LB_PICKERS];
    uint32_t sections;
};

static inline uint32_t charge_on(const struct charges *all, uint32_t backend)
{
    uint32_t sum = entry(all->by_section[0], backend);
    for (uint32_t section = 1; section < all->sections; section++)
        sum += entry(all->by_section[section], backend);
    return sum;
}

/* Of a backend whose row says more: what it has from elsewhere counts, and one that ramps up is counted as fuller than it is, one
 * more and divided by its share; its own turn of the schedule stays to it. */
static __attribute__((noinline, cold)) float heavier(const struct lb_choice *choice, uint32_t backend, float charge)
{
    float share = ramp_of(choice, backend), work = charge + elsewhere(choice, backend);
    return (share < 1 ? (work + 1) / share : work) * cost_of(choice, backend);
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
    compare(choice, 0, best, least);
    for (uint32_t i = 0; i < count && least > 0; i++) { /* nobody has fewer than none */
        uint32_t backend = entry(members, i);
        if (backend >= limit)
            continue;
        float cost = read_cost(&costs[backend]), here = (float)(int32_t)charge_on(&all, backend) * cost;
        if (__builtin_expect(here >= least, 1))
            continue;
        if (cost < 0) /* there is more to it */
            here = heavier(choice, backend, (float)charge_on(&all, backend));
        if (here < least && usable(choice, backend)) {
            best = backend;
            least = here;
        }
    }
    think(choice, LB_WHY_LEAST);
    compare(choice, 1, best, least);
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
        uint32_t backend = entry(choice->members, i);
        if (!is_out(choice, backend) && cost_of(choice, backend) < INFINITY && is_full(choice, backend))
            return 1;
    }
    return 0;
}

/* The first that can be had of those behind the members, tier after tier; within a tier from anywhere. There, too, full is not gone. */
static uint32_t from_reserve(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    uint32_t best = LB_NONE, lowest = UINT32_MAX, full = UINT32_MAX, start = draw(cursor, choice->reserve_count);
    if (any_is_full(choice))
        return LB_NONE;
    for (uint32_t i = 0; i < choice->reserve_count; i++) {
        uint32_t at = start + i < choice->reserve_count ? start + i : start + i - choice->reserve_count;
        uint32_t backend = entry(choice->members, choice->member_count + at);
        if (is_out(choice, backend) || cost_of(choice, backend) == INFINITY)
            continue;
        uint32_t tier = choice->shm->backends[backend].tier;
        if (is_full(choice, backend)) {
            full = tier < full ? tier : full;
        } else if (tier < lowest) {
            lowest = tier;
            best = backend;
        }
    }
    if (full < lowest)
        return LB_NONE;
    if (best != LB_NONE)
        think(choice, LB_WHY_RESERVE);
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
    }
    return LB_NONE;
}

uint32_t lb_policy_pick(uint32_t policy, const struct lb_choice *choice, struct lb_cursor *cursor)
{
    if (choice->wish->thought)
        *choice->wish->thought = (struct lb_thought){{LB_NONE, LB_NONE}, {NOT_ASKED, NOT_ASKED}, LB_WHY_NONE};
    if (!choice->member_count || !choice->slot_count)
        return LB_NONE;
    uint32_t backend = among_members(policy, choice, cursor);
    if (__builtin_expect(backend == LB_NONE && choice->reserve_count, 0))
        return from_reserve(choice, cursor);
    return backend;
}
