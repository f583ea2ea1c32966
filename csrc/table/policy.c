#include "policy.h"

#include <math.h>

#include "load.h"

enum { TRIES = 16 }; /* slots looked at before the members are searched one by one */

#define EWMA_TAU_MS 10000.0f    /* Finagle's: what is older than this hardly counts */
#define UNKNOWN_US 1000000.0f   /* a backend that has not answered its first exchanges yet is not flooded with more */
#define BOUNDED_LOAD 1.25f      /* the paper's c */
#define BOUND_FLOOR 4.0f        /* under so much, keeping a key together is worth more than evenness */

static inline float read_cost(const float *at)
{
    float cost;
    __atomic_load(at, &cost, __ATOMIC_RELAXED);
    return cost;
}

static float cost_of(const struct lb_choice *choice, uint32_t backend)
{
    return backend < choice->shm->head->max_backends ? read_cost(&choice->shm->costs[backend]) : INFINITY;
}

static int usable(const struct lb_choice *choice, uint32_t backend)
{
    for (uint32_t i = 0; i < choice->wish->tried_count; i++)
        if (choice->wish->tried[i] == backend)
            return 0;
    return cost_of(choice, backend) < INFINITY &&
           (!choice->max_active || lb_shm_in_flight(choice->shm, backend) < choice->max_active);
}

static uint32_t entry(const uint32_t *array, uint32_t at)
{
    return __atomic_load_n(&array[at], __ATOMIC_RELAXED);
}

/* Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016: xorshift64*. */
static uint32_t draw(struct lb_cursor *cursor, uint32_t below)
{
    uint64_t x = cursor->seed;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    cursor->seed = x;
    uint32_t high = (uint32_t)((x * UINT64_C(0x2545F4914F6CDD1D)) >> 32);
    return (uint32_t)(((uint64_t)high * below) >> 32);
}

/* The members one by one from anywhere: what is left when the schedule offered nobody. */
static uint32_t search(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    uint32_t start = draw(cursor, choice->member_count);
    for (uint32_t i = 0; i < choice->member_count; i++) {
        uint32_t at = start + i < choice->member_count ? start + i : start + i - choice->member_count;
        uint32_t backend = entry(choice->members, at);
        if (usable(choice, backend))
            return backend;
    }
    return LB_NONE;
}

static uint32_t round_robin(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    for (uint32_t i = 0; i < TRIES; i++) {
        if (cursor->turn >= choice->slot_count)
            cursor->turn = 0;
        uint32_t backend = entry(choice->slots, cursor->turn++);
        if (usable(choice, backend))
            return backend;
    }
    return search(choice, cursor);
}

static uint32_t weighted_random(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    for (uint32_t i = 0; i < TRIES; i++) {
        uint32_t backend = entry(choice->slots, draw(cursor, choice->slot_count));
        if (usable(choice, backend))
            return backend;
    }
    return search(choice, cursor);
}

static float burden(const struct lb_choice *choice, uint32_t backend)
{
    return (float)lb_shm_in_flight(choice->shm, backend) * cost_of(choice, backend);
}

static float peak_now(const struct lb_outcome *outcome, uint32_t now_ms)
{
    float age_ms = (float)(int32_t)(now_ms - outcome->peak_ms);
    return age_ms > 0 ? outcome->peak_us * expf(-age_ms / EWMA_TAU_MS) : outcome->peak_us;
}

void lb_policy_observe(struct lb_outcome *outcome, uint32_t latency_us, uint32_t now_ms)
{
    float seen = (float)latency_us, kept = peak_now(outcome, now_ms);
    float age_ms = (float)(int32_t)(now_ms - outcome->peak_ms);
    float share = outcome->peak_us > 0 && age_ms > 0 ? expf(-age_ms / EWMA_TAU_MS) : 0;
    outcome->peak_us = seen >= kept ? seen : outcome->peak_us * share + seen * (1 - share);
    outcome->peak_ms = now_ms;
}

static float delay(const struct lb_choice *choice, uint32_t backend)
{
    const struct lb_wish *wish = choice->wish;
    const struct lb_outcome *outcome = lb_shm_outcome(choice->shm, wish->worker, backend);
    float in_flight = (float)lb_shm_in_flight(choice->shm, backend), peak_us = 0;
    if (outcome->generation == choice->shm->backends[backend].generation)
        peak_us = peak_now(outcome, wish->now_ms);
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
    if (first == LB_NONE || second == LB_NONE || first == second)
        return first;
    return score(choice, second) < score(choice, first) ? second : first;
}

/* May this backend take one more, or has it its share and a quarter already? */
static int within_bound(const struct lb_choice *choice, uint32_t backend, float all)
{
    float share = (float)choice->shm->backends[backend].weight / (float)choice->weight;
    float bound = BOUNDED_LOAD * (all + 1) * share;
    return (float)lb_shm_in_flight(choice->shm, backend) + 1 <= (bound < BOUND_FLOOR ? BOUND_FLOOR : ceilf(bound));
}

static uint64_t hash_again(uint64_t key)
{
    key = (key ^ key >> 33) * UINT64_C(0xff51afd7ed558ccd); /* Murmur3's finalizer */
    key = (key ^ key >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return key ^ key >> 33;
}

static uint32_t by_key(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    float all = (float)lb_load_of_pool(choice->shm, choice->pool);
    uint64_t key = choice->wish->key;
    for (uint32_t i = 0; i < TRIES; i++, key = hash_again(key)) {
        uint32_t backend = entry(choice->slots, (uint32_t)(key % choice->slot_count));
        if (usable(choice, backend) && within_bound(choice, backend, all))
            return backend;
    }
    return search(choice, cursor);
}

/* Every worker's sessions, as arrays by backend row. */
struct in_flight {
    const uint32_t *by_worker[LB_MAX_WORKERS];
    uint32_t workers;
};

static inline uint32_t sessions_on(const struct in_flight *all, uint32_t backend)
{
    uint32_t sum = entry(all->by_worker[0], backend);
    for (uint32_t worker = 1; worker < all->workers; worker++)
        sum += entry(all->by_worker[worker], backend);
    return sum;
}

/* The loop is the cost of least_conn: what can be hoisted is, and only a better one is asked whether it was tried. */
static uint32_t least_conn(const struct lb_choice *choice, struct lb_cursor *cursor)
{
    const struct lb_shm *shm = choice->shm;
    const uint32_t limit = shm->head->max_backends, count = choice->member_count, *members = choice->members;
    const float *costs = shm->costs;
    struct in_flight all = {.workers = shm->head->workers};
    for (uint32_t worker = 0; worker < all.workers; worker++)
        all.by_worker[worker] = lb_shm_active(shm, worker);

    uint32_t best = round_robin(choice, cursor);
    if (best == LB_NONE)
        return LB_NONE;
    float least = burden(choice, best);
    for (uint32_t i = 0; i < count && least > 0; i++) { /* nobody has fewer than none */
        uint32_t backend = entry(members, i);
        if (backend >= limit)
            continue;
        float here = (float)(int32_t)sessions_on(&all, backend) * read_cost(&costs[backend]);
        if (here < least && usable(choice, backend)) {
            best = backend;
            least = here;
        }
    }
    return best;
}

uint32_t lb_policy_pick(uint32_t policy, const struct lb_choice *choice, struct lb_cursor *cursor)
{
    if (!choice->member_count || !choice->slot_count)
        return LB_NONE;
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
