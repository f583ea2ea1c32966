#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../core/siphash.h"
#include "account.h"
#include "avoid.h"
#include "load.h"
#include "maglev.h"
#include "prefixes.h"
#include "schedule.h"

enum { CLAIMS = 4 };  /* times to pick again when max_active was reached in between */
enum { REREADS = 4 }; /* a pick that publications overtook so often keeps what it has: stale, not wild */

static int electable(const struct lb_backend_row *row, uint32_t pool)
{
    return row->state == LB_UP && row->pool == pool && row->weight > 0;
}

/* The same in every balancer, after every restart. */
static uint64_t name_of(const struct lb_backend_row *row)
{
    static const uint8_t key[16] = "lbcore maglev 1";
    return lb_siphash(key, row->address, strnlen((const char *)row->address, sizeof row->address));
}

static int64_t build_maglev(const struct lb_shm *shm, const uint32_t *members, const uint32_t *weights, uint32_t count,
                            uint32_t *slots)
{
    uint64_t *names = malloc(count * sizeof *names);
    if (!names)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        names[i] = name_of(&shm->backends[members[i]]);
    int64_t built = lb_maglev_build(members, weights, names, count, slots);
    free(names);
    return built;
}

static uint32_t tier_of(const struct lb_backend_row *row)
{
    return row->tier < LB_TIERS ? row->tier : LB_TIERS - 1;
}

/* Of each tier, how many backends can be picked; and which is the lowest that has any. */
static uint32_t count_tiers(const struct lb_shm *shm, uint32_t pool, uint32_t counts[LB_TIERS])
{
    memset(counts, 0, LB_TIERS * sizeof *counts);
    for (uint32_t i = 0; i < shm->head->rows_used; i++)
        if (electable(&shm->backends[i], pool))
            counts[tier_of(&shm->backends[i])]++;
    uint32_t lowest = 0;
    while (lowest < LB_TIERS - 1 && !counts[lowest])
        lowest++;
    return lowest;
}

/* Write the backends that can be picked, tier after tier. Returns the weight of the first `turns`, whose weights are noted. */
static uint64_t write_members(const struct lb_shm *shm, uint32_t pool, const uint32_t counts[LB_TIERS], uint32_t turns,
                              uint32_t *members, uint32_t *weights)
{
    uint32_t at[LB_TIERS] = {0};
    uint64_t weight = 0;
    for (uint32_t tier = 1; tier < LB_TIERS; tier++)
        at[tier] = at[tier - 1] + counts[tier - 1];
    for (uint32_t i = 0; i < shm->head->rows_used; i++) {
        const struct lb_backend_row *row = &shm->backends[i];
        if (!electable(row, pool))
            continue;
        uint32_t place = at[tier_of(row)]++;
        __atomic_store_n(&members[place], i, __ATOMIC_RELAXED);
        if (place < turns) {
            weights[place] = row->weight;
            weight += row->weight;
        }
    }
    return weight;
}

int64_t lb_view_publish(const struct lb_shm *shm, uint32_t pool)
{
    struct lb_head *head = shm->head;
    uint32_t next = shm->pools[pool].view + 1, counts[LB_TIERS], reserve = 0;
    struct lb_view *view = lb_shm_view(shm, pool, next);
    uint32_t *members = lb_shm_members(shm, view);
    uint32_t tier = count_tiers(shm, pool, counts), count = counts[tier];
    uint32_t *weights = malloc((count + 1) * sizeof *weights);
    if (!weights)
        return -ENOMEM;

    uint64_t weight = write_members(shm, pool, counts, count, members, weights);
    for (uint32_t later = tier + 1; later < LB_TIERS; later++)
        reserve += counts[later];
    int64_t slots = 0;
    if (count && shm->pools[pool].policy == LB_MAGLEV)
        slots = build_maglev(shm, members, weights, count, lb_shm_slots(shm, view));
    else if (count)
        slots = lb_schedule_build(members, weights, count, lb_shm_slots(shm, view), head->max_slots);
    free(weights);
    if (slots < 0)
        return slots;
    __atomic_store_n(&view->weight, weight, __ATOMIC_RELAXED);
    __atomic_store_n(&view->members, count, __ATOMIC_RELAXED);
    __atomic_store_n(&view->tier, tier, __ATOMIC_RELAXED);
    __atomic_store_n(&view->reserve, reserve, __ATOMIC_RELAXED);
    __atomic_store_n(&view->slots, (uint32_t)slots, __ATOMIC_RELAXED);
    __atomic_store_n(&shm->pools[pool].view, next, __ATOMIC_RELEASE);
    __atomic_store_n(&head->generation, head->generation + 1, __ATOMIC_RELEASE);
    return count + reserve;
}

uint32_t lb_view_tier(const struct lb_shm *shm, uint32_t pool)
{
    uint32_t current = __atomic_load_n(&shm->pools[pool].view, __ATOMIC_ACQUIRE);
    return __atomic_load_n(&lb_shm_view(shm, pool, current)->tier, __ATOMIC_RELAXED);
}

uint32_t lb_view_pick(const struct lb_shm *shm, uint32_t pool, const struct lb_wish *wish, struct lb_cursor *cursor)
{
    const struct lb_pool_row *row = &shm->pools[pool];
    uint32_t before = __atomic_load_n(&row->view, __ATOMIC_ACQUIRE), after = before, backend = LB_NONE;
    for (int i = 0; i < REREADS; i++, before = after) {
        struct lb_view *view = lb_shm_view(shm, pool, before);
        struct lb_choice choice = {
            .shm = shm,
            .members = lb_shm_members(shm, view),
            .slots = lb_shm_slots(shm, view),
            .member_count = __atomic_load_n(&view->members, __ATOMIC_RELAXED),
            .slot_count = __atomic_load_n(&view->slots, __ATOMIC_RELAXED),
            .reserve_count = __atomic_load_n(&view->reserve, __ATOMIC_RELAXED),
            .pool = pool,
            .max_active = row->max_active,
            .tier = __atomic_load_n(&view->tier, __ATOMIC_RELAXED),
            .weight = __atomic_load_n(&view->weight, __ATOMIC_RELAXED),
            .wish = wish,
        };
        backend = lb_policy_pick(__atomic_load_n(&row->policy, __ATOMIC_RELAXED), &choice, cursor);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        after = __atomic_load_n(&row->view, __ATOMIC_RELAXED);
        if (after == before) /* the other view may have been written meanwhile, this one was not */
            break;
    }
    return backend;
}

int lb_view_some_are_full(const struct lb_shm *shm, uint32_t pool, const struct lb_wish *wish)
{
    struct lb_view *view = lb_shm_view(shm, pool, __atomic_load_n(&shm->pools[pool].view, __ATOMIC_ACQUIRE));
    const uint32_t *members = lb_shm_members(shm, view);
    uint32_t count = __atomic_load_n(&view->members, __ATOMIC_RELAXED) + __atomic_load_n(&view->reserve, __ATOMIC_RELAXED);
    for (uint32_t i = 0; i < count && i < shm->head->max_backends; i++) {
        uint32_t backend = __atomic_load_n(&members[i], __ATOMIC_RELAXED);
        if (backend < shm->head->max_backends && lb_policy_takes_sessions(shm, wish, backend) &&
            !lb_avoid_skips(shm, wish, backend))
            return 1;
    }
    return 0;
}

/* It will have the text's blocks; and what all were given stays a matter of lately. */
static void learn(const struct lb_shm *shm, uint32_t pool, const struct lb_wish *wish, uint32_t backend)
{
    const struct lb_thought *thought = wish->thought;
    uint32_t bytes = lb_blocks_bytes(wish->blocks->count), known = thought ? lb_blocks_bytes(thought->had) : 0;
    if (thought)
        lb_account_text(shm, wish->worker, pool, (enum lb_why)thought->why, bytes, known);
    if (wish->blocks->ends) /* of a key it is not known */
        lb_prefixes_fill(shm, pool, backend, bytes - known, wish->now_ms);
    lb_prefixes_learn(shm, pool, wish->blocks, backend, wish->now_ms);
    if (thought && thought->end)
        lb_prefixes_learn_end(shm, pool, thought->end, backend, wish->now_ms);
    if (!lb_prefixes_count(shm, backend))
        return;
    struct lb_view *view = lb_shm_view(shm, pool, __atomic_load_n(&shm->pools[pool].view, __ATOMIC_ACQUIRE));
    const uint32_t *members = lb_shm_members(shm, view);
    for (uint32_t i = 0, count = __atomic_load_n(&view->members, __ATOMIC_RELAXED); i < count; i++)
        lb_prefixes_halve(shm, __atomic_load_n(&members[i], __ATOMIC_RELAXED));
}

static uint32_t claim(const struct lb_shm *shm, uint32_t pool, const struct lb_wish *wish, struct lb_cursor *cursor,
                      uint32_t cost)
{
    for (int i = 0; i < CLAIMS; i++) {
        uint32_t backend = lb_view_pick(shm, pool, wish, cursor);
        if (backend == LB_NONE)
            return backend;
        if (!lb_load_take(shm, wish->worker, pool, backend, cost))
            continue;
        if (wish->blocks && wish->blocks->count && shm->pools[pool].policy == LB_PREFIX)
            learn(shm, pool, wish, backend);
        return backend;
    }
    return LB_NONE;
}

static void think(const struct lb_wish *wish, enum lb_why why)
{
    if (wish->thought)
        wish->thought->why = (uint8_t)why;
}

uint32_t lb_view_acquire(const struct lb_shm *shm, uint32_t pool, const struct lb_wish *wish, struct lb_cursor *cursor,
                         uint32_t cost)
{
    struct lb_wish aware = *wish;
    aware.wary = (uint8_t)lb_avoid_is_wary(shm, wish->worker, pool, wish->now_ms);
    uint32_t backend = claim(shm, pool, &aware, cursor, cost);
    if (!aware.wary)
        return backend;
    if (backend != LB_NONE && lb_avoid_picked(shm, wish, pool, backend))
        think(wish, LB_WHY_TRIAL);
    if (backend != LB_NONE || lb_view_some_are_full(shm, pool, wish))
        return backend;
    aware.wary = 0; /* to pass all over would be to serve nobody */
    backend = claim(shm, pool, &aware, cursor, cost);
    if (backend != LB_NONE) {
        (void)lb_avoid_picked(shm, wish, pool, backend);
        think(wish, LB_WHY_LAST);
    }
    return backend;
}
