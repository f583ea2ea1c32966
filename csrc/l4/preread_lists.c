#include "preread_lists.h"

/* --- lists ---------------------------------------------------------------------------------------------------------- */

void lb_preread_append(struct lb_prereads *prereads, struct lb_preread_list *list, struct lb_preread *preread)
{
    uint32_t index = lb_preread_index(prereads, preread);
    if (preread->queued)
        return;
    preread->queued = 1;
    list->count++;
    preread->next = LB_SLAB_NONE;
    if (list->first == LB_SLAB_NONE)
        list->first = index;
    else
        lb_preread_at(prereads, list->last)->next = index;
    list->last = index;
}

/* At the bound the newest is the next: behind those who came to stall, nobody would ever be served. */
void lb_preread_wait_turn(struct lb_prereads *prereads, struct lb_preread *preread)
{
    struct lb_preread_list *list = &prereads->waiting;
    if (list->first == LB_SLAB_NONE || prereads->shaking < prereads->most_shaking) {
        lb_preread_append(prereads, list, preread);
        return;
    }
    if (preread->queued)
        return;
    preread->queued = 1;
    list->count++;
    preread->next = list->first;
    list->first = lb_preread_index(prereads, preread);
}

void lb_preread_drop_first(struct lb_prereads *prereads, struct lb_preread_list *list)
{
    struct lb_preread *preread = lb_preread_at(prereads, list->first);
    list->first = preread->next;
    list->count--;
    preread->queued = 0;
}

struct lb_preread *lb_preread_first_alive(struct lb_prereads *prereads, struct lb_preread_list *list)
{
    while (list->first != LB_SLAB_NONE) {
        uint32_t index = list->first;
        struct lb_preread *preread = lb_preread_at(prereads, index);
        if (preread->live)
            return preread;
        lb_preread_drop_first(prereads, list);
        lb_slab_give(&prereads->slab, index);
    }
    return NULL;
}

/* --- those under way ------------------------------------------------------------------------------------------------ */

/* Behind all others: it has just been heard of. */
static void link_youngest(struct lb_prereads *prereads, struct lb_preread *preread)
{
    uint32_t index = lb_preread_index(prereads, preread);
    preread->since_ms = (uint32_t)lb_now_ms(prereads->ctx);
    preread->newer = LB_SLAB_NONE;
    preread->older = prereads->youngest;
    if (prereads->youngest != LB_SLAB_NONE)
        lb_preread_at(prereads, prereads->youngest)->newer = index;
    else
        prereads->eldest = index;
    prereads->youngest = index;
}

static void unlink_young(struct lb_prereads *prereads, struct lb_preread *preread)
{
    if (preread->older != LB_SLAB_NONE)
        lb_preread_at(prereads, preread->older)->newer = preread->newer;
    else
        prereads->eldest = preread->newer;
    if (preread->newer != LB_SLAB_NONE)
        lb_preread_at(prereads, preread->newer)->older = preread->older;
    else
        prereads->youngest = preread->older;
}

void lb_preread_shakes(struct lb_prereads *prereads, struct lb_preread *preread)
{
    link_youngest(prereads, preread);
    preread->shaking = 1;
    prereads->shaking++;
    lb_add(&prereads->ctx->row->handshakes_active, 1);
}

void lb_preread_went_on(struct lb_prereads *prereads, struct lb_preread *preread)
{
    unlink_young(prereads, preread);
    link_youngest(prereads, preread);
}

void lb_preread_shakes_no_more(struct lb_prereads *prereads, struct lb_preread *preread)
{
    if (!preread->shaking)
        return;
    unlink_young(prereads, preread);
    preread->shaking = 0;
    prereads->shaking--;
    lb_add(&prereads->ctx->row->handshakes_active, UINT64_MAX);
}
