#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "../core/siphash.h"
#include "load.h"
#include "maglev.h"
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

int64_t lb_view_publish(const struct lb_shm *shm, uint32_t pool)
{
    struct lb_head *head = shm->head;
    uint32_t next = shm->pools[pool].view + 1;
    struct lb_view *view = lb_shm_view(shm, pool, next);
    uint32_t *members = lb_shm_members(shm, view);
    uint32_t *weights = malloc((head->rows_used + 1) * sizeof *weights);
    if (!weights)
        return -ENOMEM;

    uint32_t count = 0;
    uint64_t weight = 0;
    for (uint32_t i = 0; i < head->rows_used; i++)
        if (electable(&shm->backends[i], pool)) {
            __atomic_store_n(&members[count], i, __ATOMIC_RELAXED);
            weight += shm->backends[i].weight;
            weights[count++] = shm->backends[i].weight;
        }
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
    __atomic_store_n(&view->slots, (uint32_t)slots, __ATOMIC_RELAXED);
    __atomic_store_n(&shm->pools[pool].view, next, __ATOMIC_RELEASE);
    __atomic_store_n(&head->generation, head->generation + 1, __ATOMIC_RELEASE);
    return count;
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
            .pool = pool,
            .max_active = row->max_active,
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

uint32_t lb_view_claim(const struct lb_shm *shm, uint32_t pool, const struct lb_wish *wish, struct lb_cursor *cursor,
                       uint32_t cost)
{
    for (int i = 0; i < CLAIMS; i++) {
        uint32_t backend = lb_view_pick(shm, pool, wish, cursor);
        if (backend == LB_NONE || lb_load_take(shm, wish->worker, pool, backend, cost))
            return backend;
    }
    return LB_NONE;
}
