#include "queue.h"

#include "../table/timing.h"
#include "belongs.h"

static void set_queued(struct lb_l7 *l7, uint32_t pool, uint32_t change)
{
    struct lb_http_queue *queue = &l7->queues[pool];
    queue->count += change;
    l7->waiting += change;
    l7->ctx->row->queued = l7->waiting;
    __atomic_store_n(&lb_shm_budget(&l7->ctx->shm, l7->ctx->worker, pool)->queued, queue->count, __ATOMIC_RELAXED);
}

/* Does X-LB-Priority say so, and may its sender? */
static int is_urgent(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    if (!lb_message_has(&l7->message, LB_LB_PRIORITY))
        return 0;
    if (!exchange->client->trusted && !lb_http_listener(l7, exchange)->priority_of_any)
        return 0;
    const char *bytes = lb_input_at(l7, &exchange->in) + exchange->in.start;
    const struct lb_field *said = lb_field_find(&l7->message, bytes, "x-lb-priority", 13);
    return said && lb_same_word(bytes + said->value.at, said->value.length, "high", 4);
}

int lb_http_enqueue(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_http_queue *queue = &l7->queues[exchange->pool];
    exchange->urgent = (uint8_t)is_urgent(l7, exchange);
    struct lb_http_lane *lane = &queue->lane[exchange->urgent];
    if (lane->count >= lb_http_pool(l7, exchange)->queue)
        return -1;
    uint32_t index = lb_http_index(l7, exchange);
    exchange->behind = LB_SLAB_NONE;
    if (lane->count)
        lb_http_at(l7, lane->last)->behind = index;
    else
        lane->first = index;
    lane->last = index;
    lane->count++;
    queue->bound += exchange->waits_for != LB_NONE;
    exchange->queued_us = (uint32_t)l7->ctx->now_us - exchange->queued_us;
    set_queued(l7, exchange->pool, 1);
    lb_add(&l7->ctx->row->requests_queued, 1);
    lb_add(&l7->ctx->row->requests_urgent, exchange->urgent);
    return 0;
}

void lb_http_leave_queue(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->state != LB_EXCHANGE_QUEUED)
        return;
    struct lb_http_queue *queue = &l7->queues[exchange->pool];
    struct lb_http_lane *lane = &queue->lane[exchange->urgent];
    uint32_t index = lb_http_index(l7, exchange), before = LB_SLAB_NONE;
    for (uint32_t at = lane->first; at != index;) {
        before = at;
        at = lb_http_at(l7, at)->behind;
    }
    if (before == LB_SLAB_NONE)
        lane->first = exchange->behind;
    else
        lb_http_at(l7, before)->behind = exchange->behind;
    if (lane->last == index)
        lane->last = before;
    lane->count--;
    queue->bound -= exchange->waits_for != LB_NONE;
    exchange->waits_for = LB_NONE;
    set_queued(l7, exchange->pool, UINT32_MAX);
    exchange->queued_us = (uint32_t)l7->ctx->now_us - exchange->queued_us;
    lb_timing_note(&l7->ctx->shm, l7->ctx->worker, exchange->pool, LB_TIMING_QUEUE, exchange->queued_us);
}

/* --- who has the next turn -------------------------------------------------------------------------------------------- */

void lb_queue_walk_begin(const struct lb_l7 *l7, uint32_t pool, struct lb_queue_walk *walk)
{
    walk->pool = pool;
    for (int i = 0; i < 2; i++) {
        const struct lb_http_lane *lane = &l7->queues[pool].lane[i];
        walk->left[i] = lane->count;
        walk->next[i] = lane->first;
    }
}

/* Of both that are next: does the one of high priority go first? */
static int urgent_first(const struct lb_l7 *l7, const struct lb_queue_walk *walk)
{
    uint32_t favour_ms = l7->ctx->shm.pools[walk->pool].queue_timeout_ms / 2;
    uint32_t normal_ms = lb_http_at(l7, walk->next[0])->since_ms, urgent_ms = lb_http_at(l7, walk->next[1])->since_ms;
    return (int32_t)(urgent_ms - normal_ms - favour_ms) <= 0;
}

struct lb_exchange *lb_queue_walk_on(const struct lb_l7 *l7, struct lb_queue_walk *walk)
{
    int lane = !walk->left[0] || (walk->left[1] && urgent_first(l7, walk));
    if (!walk->left[lane])
        return NULL;
    struct lb_exchange *exchange = lb_http_at(l7, walk->next[lane]);
    walk->next[lane] = exchange->behind;
    walk->left[lane] = exchange->behind == LB_SLAB_NONE ? 0 : walk->left[lane] - 1;
    return exchange;
}

int lb_http_is_awaited(const struct lb_l7 *l7, const struct lb_exchange *exchange, uint32_t backend)
{
    struct lb_queue_walk walk;
    if (!l7->queues[exchange->pool].bound || exchange->state == LB_EXCHANGE_QUEUED)
        return 0;
    lb_queue_walk_begin(l7, exchange->pool, &walk);
    for (const struct lb_exchange *other; (other = lb_queue_walk_on(l7, &walk)) != NULL;)
        if (other->waits_for == backend)
            return 1;
    return 0;
}
