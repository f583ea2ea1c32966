#include "queue.h"

#include "belongs.h"

static void set_queued(struct lb_l7 *l7, uint32_t pool, uint32_t change)
{
    struct lb_http_queue *queue = &l7->queues[pool];
    queue->count += change;
    l7->waiting += change;
    l7->ctx->row->queued = l7->waiting;
    __atomic_store_n(&lb_shm_budget(&l7->ctx->shm, l7->ctx->worker, pool)->queued, queue->count, __ATOMIC_RELAXED);
}

int lb_http_enqueue(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_http_queue *queue = &l7->queues[exchange->pool];
    if (queue->count >= lb_http_pool(l7, exchange)->queue)
        return -1;
    uint32_t index = lb_http_index(l7, exchange);
    exchange->behind = LB_SLAB_NONE;
    if (queue->count)
        lb_http_at(l7, queue->last)->behind = index;
    else
        queue->first = index;
    queue->last = index;
    queue->bound += exchange->waits_for != LB_NONE;
    set_queued(l7, exchange->pool, 1);
    lb_add(&l7->ctx->row->requests_queued, 1);
    return 0;
}

void lb_http_leave_queue(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->state != LB_EXCHANGE_QUEUED)
        return;
    struct lb_http_queue *queue = &l7->queues[exchange->pool];
    uint32_t index = lb_http_index(l7, exchange), before = LB_SLAB_NONE;
    for (uint32_t at = queue->first; at != index;) {
        before = at;
        at = lb_http_at(l7, at)->behind;
    }
    if (before == LB_SLAB_NONE)
        queue->first = exchange->behind;
    else
        lb_http_at(l7, before)->behind = exchange->behind;
    if (queue->last == index)
        queue->last = before;
    queue->bound -= exchange->waits_for != LB_NONE;
    exchange->waits_for = LB_NONE;
    set_queued(l7, exchange->pool, UINT32_MAX);
}

int lb_http_is_awaited(const struct lb_l7 *l7, const struct lb_exchange *exchange, uint32_t backend)
{
    const struct lb_http_queue *queue = &l7->queues[exchange->pool];
    uint32_t index = queue->bound && exchange->state != LB_EXCHANGE_QUEUED ? queue->first : LB_SLAB_NONE;
    for (const struct lb_exchange *other; index != LB_SLAB_NONE; index = other->behind) {
        other = lb_http_at(l7, index);
        if (other->waits_for == backend)
            return 1;
    }
    return 0;
}
