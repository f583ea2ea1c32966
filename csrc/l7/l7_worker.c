#include "l7_worker.h"

#include <stdlib.h>
#include <sys/random.h>

#include "../table/account.h"
#include "attempt.h"
#include "auth_cache.h"
#include "belongs.h"
#include "caller.h"
#include "deadline.h"
#include "h2/servers.h"
#include "http_servers.h"
#include "h1/idle.h"
#include "h1/server_stream.h"
#include "h1/state.h"
#include "http.h"
#include "http2.h"
#include "http_twins.h"
#include "input.h"
#include "lost.h"
#include "queue.h"
#include "text_body.h"
#include "twin.h"

enum {
    MORE_STREAMS = 1024, /* that may be open, beside one for each client that there is room for */
    QUEUE_POLL_MS = 4,   /* other workers' backends become free without a word */
};

/* --- birth and death of the whole ----------------------------------------------------------------------------------- */

static int open_queues(struct lb_l7 *l7)
{
    uint32_t pools = l7->ctx->shm.head->max_pools;
    l7->queues = calloc(pools, sizeof *l7->queues);
    l7->hedging = calloc(pools, sizeof *l7->hedging);
    return l7->queues && l7->hedging ? 0 : -ENOMEM;
}

static int open_h2(struct lb_l7 *l7, uint32_t clients, uint32_t streams)
{
    struct lb_h2_clients *h2 = &l7->h2;
    h2->touched = h2->ready = h2->last = h2->starved = LB_SLAB_NONE;
    lb_wheel_open(&h2->wheel, lb_now_ms(l7->ctx));
    int error = lb_slab_open(&h2->clients, sizeof(struct lb_h2_client), clients);
    if (!error)
        error = lb_slab_open(&h2->streams, sizeof(struct lb_h2_stream), streams);
    if (!error) /* two a connection, of clients and of backends */
        error = lb_hpack_memory_open(&l7->hpack, 4 * clients);
    return error;
}

int lb_l7_open(struct lb_l7 *l7, struct lb_worker_context *ctx, uint32_t max_clients)
{
    *l7 = (struct lb_l7){.ctx = ctx,
                         .ready = LB_SLAB_NONE,
                         .starved = LB_SLAB_NONE,
                         .stream_of = lb_h1_server_stream,
                         .obey = lb_http_obey_exchange};
    lb_wheel_open(&l7->wheel, lb_now_ms(ctx));
    lb_wheel_open(&l7->exchange_wheel, lb_now_ms(ctx));
    if (getrandom(&l7->random, sizeof l7->random, 0) != sizeof l7->random || !l7->random)
        l7->random = ctx->now_us | 1;
    uint32_t streams = max_clients + MORE_STREAMS, exchanges = max_clients + streams + LB_TWINS;
    int error = lb_slab_open(&l7->clients, sizeof(struct lb_h1), max_clients);
    if (!error)
        error = open_h2(l7, max_clients, streams);
    if (!error)
        error = lb_slab_open(&l7->exchanges, sizeof(struct lb_exchange), exchanges);
    if (!error)
        error = lb_twins_open(l7);
    if (!error)
        error = lb_slab_open(&l7->logs, sizeof(struct lb_request_log), max_clients + streams);
    if (!error)
        error = lb_slab_open(&l7->readings, sizeof(struct lb_json_body), max_clients + streams);
    if (!error)
        error = lb_slab_open(&l7->callers, sizeof(struct lb_caller), exchanges);
    if (!error)
        error = lb_slab_open(&l7->ways, sizeof(struct lb_way), exchanges);
    if (!error)
        error = lb_slab_open(&l7->texts, sizeof(struct lb_text), exchanges);
    if (!error) /* an exchange has two at most, its call at a backend two, and a stream one more, as a connection has */
        error = lb_heads_open(&l7->heads, 3 * exchanges);
    if (!error)
        error = lb_conn_pool_open(&l7->conns, ctx, max_clients + LB_TWINS);
    if (!error)
        error = lb_http_servers_open(l7, max_clients + LB_TWINS, exchanges);
    if (!error)
        error = open_queues(l7);
    if (!error && !(l7->out = malloc(LB_OUT_BYTES)))
        error = -ENOMEM;
    if (!error)
        error = lb_routes_compile(&l7->routes, &ctx->shm, &l7->routes_version);
    return error;
}

void lb_l7_close(struct lb_l7 *l7)
{
    lb_routes_free(l7->routes);
    free(l7->out);
    free(l7->queues);
    free(l7->hedging);
    lb_auth_cache_close(l7->auth_cache);
    lb_h2_servers_close(l7);
    lb_hpack_memory_close(&l7->hpack);
    lb_conn_pool_close(&l7->conns);
    lb_heads_close(&l7->heads);
    lb_slab_close(&l7->texts);
    lb_slab_close(&l7->readings);
    lb_slab_close(&l7->callers);
    lb_slab_close(&l7->ways);
    lb_slab_close(&l7->logs);
    lb_twins_close(l7);
    lb_slab_close(&l7->exchanges);
    lb_slab_close(&l7->h2.streams);
    lb_slab_close(&l7->h2.clients);
    lb_slab_close(&l7->clients);
}

/* --- a turn --------------------------------------------------------------------------------------------------------- */

static void fire(void *context, struct lb_timer *timer)
{
    struct lb_l7 *l7 = context;
    struct lb_h1 *h1 = (struct lb_h1 *)(void *)timer;
    if (!h1->exchange) /* else its time is that of the exchange */
        lb_http_obey(l7, h1, lb_h1_fire(l7, h1));
}

static void fire_exchange(void *context, struct lb_timer *timer)
{
    struct lb_l7 *l7 = context;
    struct lb_exchange *exchange = (struct lb_exchange *)(void *)timer;
    if (exchange->client) /* else it is over */
        lb_http_obey_exchange(l7, exchange, lb_http_fire(l7, exchange));
}

static void run_list(struct lb_l7 *l7, uint32_t *list)
{
    uint32_t index = *list;
    *list = LB_SLAB_NONE;
    while (index != LB_SLAB_NONE) {
        struct lb_h1 *h1 = lb_slab_at(&l7->clients, index);
        index = h1->client.next;
        h1->client.queued = 0;
        if (h1->state == LB_H1_FREE) /* ended while it was listed */
            lb_slab_give(&l7->clients, lb_h1_index(l7, h1));
        else
            lb_http_run(l7, h1);
    }
}

/* In their order; who comes back goes to the end. */
static void serve_queue(struct lb_l7 *l7, uint32_t pool)
{
    const struct lb_http_queue *queue = &l7->queues[pool];
    struct lb_queue_walk walk;
    struct lb_exchange *exchange;
    int nobody = 0;
    lb_queue_walk_begin(l7, pool, &walk);
    while ((!nobody || queue->bound) && (exchange = lb_queue_walk_on(l7, &walk)) != NULL)
        lb_http_obey_exchange(l7, exchange, lb_http_attempt_queued(l7, exchange, &nobody));
}

static void serve_queues(struct lb_l7 *l7)
{
    for (uint32_t pool = 0; l7->waiting && pool < l7->ctx->shm.head->max_pools; pool++)
        if (l7->queues[pool].count)
            serve_queue(l7, pool);
}

void lb_l7_turn(struct lb_l7 *l7)
{
    struct lb_worker_context *ctx = l7->ctx;
    uint64_t now_ms = lb_now_ms(ctx);
    run_list(l7, &l7->ready);
    if (l7->starved != LB_SLAB_NONE && lb_buffer_pool_ready(&ctx->buffers))
        run_list(l7, &l7->starved);
    lb_wheel_turn(&l7->wheel, now_ms, fire, l7);
    lb_wheel_turn(&l7->exchange_wheel, now_ms, fire_exchange, l7);
    lb_wheel_turn(&l7->conns.wheel, now_ms, lb_conn_fire, &l7->conns);
    if (l7->waiting)
        serve_queues(l7);
    if (l7->twins_ready != LB_SLAB_NONE)
        lb_twins_turn(l7);
    if (lb_http_servers_are_used(l7))
        lb_http_servers_turn(l7);
    if (lb_h2_is_spoken(l7))
        lb_h2_turn(l7);
    if (lb_http_servers_are_used(l7))
        lb_http_servers_send(l7);
    lb_buffer_pool_trim(&l7->heads.common, now_ms);
    lb_http_follow_routes(l7);
}

static int sooner(int a, int b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

int lb_l7_wait(const struct lb_l7 *l7)
{
    uint64_t now_ms = lb_now_ms(l7->ctx);
    if (l7->ready != LB_SLAB_NONE || l7->twins_ready != LB_SLAB_NONE ||
        (l7->starved != LB_SLAB_NONE && lb_buffer_pool_ready(&l7->ctx->buffers)))
        return 0;
    int wait = sooner(lb_wheel_wait(&l7->wheel, now_ms), lb_wheel_wait(&l7->conns.wheel, now_ms));
    wait = sooner(wait, lb_wheel_wait(&l7->exchange_wheel, now_ms));
    wait = sooner(wait, lb_buffer_pool_wait(&l7->heads.common, now_ms));
    if (lb_h2_is_spoken(l7))
        wait = sooner(wait, lb_h2_wait(l7));
    if (lb_http_servers_are_used(l7))
        wait = sooner(wait, lb_http_servers_wait(l7));
    return l7->waiting ? sooner(wait, QUEUE_POLL_MS) : wait;
}

/* --- the end of many ------------------------------------------------------------------------------------------------ */

void lb_l7_drain(struct lb_l7 *l7, int gently, uint64_t limit_ms)
{
    l7->draining = 1;
    lb_h2_drain(l7, limit_ms);
    for (uint32_t i = 0; i < l7->clients.touched; i++) {
        struct lb_h1 *h1 = lb_slab_at(&l7->clients, i);
        if (h1->state == LB_H1_LINGERING)
            lb_h1_rearm(l7, h1); /* it has less time now */
        else if (!gently && h1->state == LB_H1_OPEN && !h1->exchange && !lb_input_has_begun(l7, &h1->in) &&
                 !h1->client.side.readable)
            lb_http_obey(l7, h1, lb_verdict_end(LB_ENDED_DONE));
    }
}

void lb_l7_cut(struct lb_l7 *l7)
{
    for (uint32_t i = 0; i < l7->exchanges.touched; i++) {
        struct lb_exchange *exchange = lb_http_at(l7, i);
        if (!exchange->client || exchange->backend == LB_NONE || !lb_shm_is_cut(&l7->ctx->shm, exchange->backend))
            continue;
        lb_http_obey_exchange(l7, exchange,
                              exchange->state == LB_EXCHANGE_CONNECTING ? lb_verdict_number(LB_NEXT_FAILED, ECONNABORTED)
                                                                        : lb_http_backend_cut(l7, exchange));
    }
    lb_conn_cut(&l7->conns, 0);
    lb_http_servers_cut(l7, 0);
}

void lb_l7_stop(struct lb_l7 *l7)
{
    for (uint32_t i = 0; i < l7->clients.touched; i++) {
        struct lb_h1 *h1 = lb_slab_at(&l7->clients, i);
        if (h1->state != LB_H1_FREE)
            lb_http_obey(l7, h1, lb_verdict_end(LB_ENDED_STOPPED));
    }
    lb_h2_stop(l7);
    lb_twins_stop(l7);
    lb_conn_cut(&l7->conns, 1);
    lb_http_servers_cut(l7, 1);
}
