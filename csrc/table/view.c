#include "view.h"

#include "schedule.h"

#include <errno.h>
#include <stdlib.h>

enum { REREADS = 4 }; /* a pick that publications overtook so often keeps what it has: stale, not wild */

static int electable(const struct lb_backend_row *row, uint32_t pool)
{
    return row->state == LB_UP && row->pool == pool && row->weight > 0;
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
    for (uint32_t i = 0; i < head->rows_used; i++)
        if (electable(&shm->backends[i], pool)) {
            __atomic_store_n(&members[count], i, __ATOMIC_RELAXED);
            weights[count++] = shm->backends[i].weight;
        }
    int64_t slots = count ? lb_schedule_build(members, weights, count, lb_shm_slots(shm, view), head->max_slots) : 0;
    free(weights);
    if (slots < 0)
        return slots;
    __atomic_store_n(&view->members, count, __ATOMIC_RELAXED);
    __atomic_store_n(&view->slots, (uint32_t)slots, __ATOMIC_RELAXED);
    __atomic_store_n(&shm->pools[pool].view, next, __ATOMIC_RELEASE);
    __atomic_store_n(&head->generation, head->generation + 1, __ATOMIC_RELEASE);
    return count;
}

uint32_t lb_view_pick(const struct lb_shm *shm, uint32_t pool, const uint32_t *tried, uint32_t tried_count,
                      struct lb_cursor *cursor)
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
            .tried = tried,
            .tried_count = tried_count,
        };
        backend = lb_policy_pick(__atomic_load_n(&row->policy, __ATOMIC_RELAXED), &choice, cursor);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        after = __atomic_load_n(&row->view, __ATOMIC_RELAXED);
        if (after == before) /* the other view may have been written meanwhile, this one was not */
            break;
    }
    return backend;
}
