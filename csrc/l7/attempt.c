#include "attempt.h"

#include <errno.h>
#include <string.h>

#include "../l4/attempt.h"
#include "../l4/proxy_send.h"
#include "../l4/backend_report.h"
#include "../l4/backend_tls.h"
#include "../l4/sendq.h"
#include "../table/avoid.h"
#include "../table/backend_health.h"
#include "../table/load.h"
#include "../table/prefixes.h"
#include "../table/timing.h"
#include "../table/view.h"
#include "../table/why.h"
#include "../tls/handshake.h"
#include "belongs.h"
#include "bound.h"
#include "charge.h"
#include "elsewhere.h"
#include "input.h"
#include "queue.h"
#include "spoken.h"
#include "text_body.h"

enum { WARY_MS = 60000 }; /* how long no kept connection gets what must not be sent twice, after one such request was lost */

/* --- whom to ask ---------------------------------------------------------------------------------------------------- */

static uint64_t hash_of(const char *bytes, struct lb_span span)
{
    return lb_policy_key(bytes + span.at, span.length);
}

/* The hash of what the pool's `hash` names: 1, or 0 when the request has no such thing. */
static int key_of(struct lb_l7 *l7, const struct lb_exchange *exchange, const struct lb_pool_row *pool, uint64_t *key)
{
    const struct lb_message *message = &l7->message;
    const char *bytes = lb_input_at(l7, &exchange->in) + exchange->in.start, *name = (const char *)pool->hash_name;
    uint32_t length = (uint32_t)strnlen(name, sizeof pool->hash_name);
    struct lb_span cookie;
    const struct lb_field *field;
    const struct lb_text *text;
    switch ((enum lb_hash_key)pool->hash_key) {
    case LB_HASH_ADDRESS:
        *key = exchange->client->key;
        return 1;
    case LB_HASH_PATH:
        *key = hash_of(bytes, message->path);
        return 1;
    case LB_HASH_HEADER:
        field = lb_field_find(message, bytes, name, length);
        *key = field ? hash_of(bytes, field->value) : 0;
        return field != NULL;
    case LB_HASH_COOKIE:
        cookie = lb_cookie_find(message, bytes, name, length);
        *key = cookie.at != UINT32_MAX ? hash_of(bytes, cookie) : 0;
        return cookie.at != UINT32_MAX;
    case LB_HASH_JSON:
        text = lb_text_of(l7, exchange);
        *key = text ? text->key : 0;
        return text && text->keyed;
    }
    return 0;
}

/* What the policy goes by. maglev takes the client's address for what a request does not have, and prefix nothing. */
static void tell_policy(struct lb_l7 *l7, const struct lb_exchange *exchange, const struct lb_pool_row *pool,
                        struct lb_wish *wish, struct lb_blocks *blocks)
{
    const struct lb_text *text = lb_text_of(l7, exchange);
    if (pool->policy == LB_PREFIX && text) {
        wish->blocks = &text->blocks;
        return;
    }
    int found = key_of(l7, exchange, pool, &wish->key);
    if (pool->policy == LB_PREFIX && found) {
        lb_prefixes_key(&l7->ctx->shm, exchange->pool, wish->key, blocks);
        wish->blocks = blocks;
    } else if (!found) {
        wish->key = exchange->client->key;
    }
}

/* The backend on which the client has logged in, whatever the policy says: with another the login begins anew. LB_NONE: there is none,
 * or it is full, and *full says so. */
static uint32_t login_backend(struct lb_l7 *l7, struct lb_exchange *exchange, int *full)
{
    const struct lb_conn *conn = exchange->client->own.count && !exchange->fresh_only && !exchange->tried_count
                                   ? lb_conn_login(&l7->conns, &exchange->client->own, exchange->pool)
                                   : NULL;
    if (!conn)
        return LB_NONE;
    if (lb_load_take(&l7->ctx->shm, l7->ctx->worker, exchange->pool, conn->backend, exchange->cost))
        return conn->backend;
    *full = 1;
    exchange->waits_for = conn->backend;
    return LB_NONE;
}

/* A backend, charged with this exchange, or LB_NONE. l7->message is the request. */
static uint32_t pick(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_worker_context *ctx = l7->ctx;
    const struct lb_pool_row *pool = lb_http_pool(l7, exchange);
    struct lb_thought thought = {.candidate = {LB_NONE, LB_NONE}, .score = {-1, -1}, .why = LB_WHY_LOGIN};
    struct lb_wish wish = {.tried = exchange->tried,
                           .tried_count = exchange->tried_count,
                           .worker = ctx->worker,
                           .now_ms = (uint32_t)lb_now_ms(ctx),
                           .sends = exchange->replayable ? LB_SENDS_REPEATABLE : LB_SENDS_ONCE,
                           .thought = &thought};
    struct lb_blocks blocks;
    int full = 0;
    exchange->waits_for = LB_NONE;
    uint32_t backend = login_backend(l7, exchange, &full);
    if (full)
        return LB_NONE;
    if (backend == LB_NONE)
        thought.why = LB_WHY_STICKY;
    if (backend == LB_NONE && pool->sticky[0])
        backend = lb_http_bound(l7, exchange);
    if (exchange->waits_for != LB_NONE)
        return LB_NONE;
    if (backend == LB_NONE && (pool->policy == LB_MAGLEV || pool->policy == LB_PREFIX))
        tell_policy(l7, exchange, pool, &wish, &blocks);
    if (backend == LB_NONE)
        backend = lb_view_acquire(&ctx->shm, exchange->pool, &wish, &ctx->cursors[exchange->pool], exchange->cost);
    if (backend != LB_NONE || exchange->state != LB_EXCHANGE_QUEUED) { /* who waits asks again and again */
        struct lb_pick picked = {ctx->now_us,    ctx->worker,           exchange->pool,  backend,
                                 exchange->cost, exchange->tried_count, exchange->route, &thought};
        exchange->decision = lb_why_note(&ctx->shm, &picked);
        if (exchange->json)
            lb_why_body(&ctx->shm, ctx->worker, exchange->decision, (enum lb_json_why)exchange->json);
        if (exchange->way != LB_SLAB_NONE)
            lb_why_way(&ctx->shm, ctx->worker, lb_slab_at(&l7->ways, exchange->way));
    }
    exchange->status = 0;
    return backend;
}

/* --- reaching ------------------------------------------------------------------------------------------------------- */

/* Was a request that must not be sent twice lost on a kept connection to this backend a moment ago? */
static int has_lost_one(struct lb_l7 *l7, uint32_t backend)
{
    const struct lb_backend_health *health = lb_report_of(l7->ctx, backend);
    return health->lost_ms && (uint32_t)lb_now_ms(l7->ctx) - health->lost_ms < WARY_MS;
}

/* A request that must not be sent twice goes only where nothing can have happened: to a connection that was used a moment ago, not
 * for a failure, and has nothing to read, which would be its end. A client's login goes before all that: without its connection
 * even an upgrade is refused. */
static struct lb_conn *kept_conn(struct lb_l7 *l7, struct lb_exchange *exchange, uint32_t backend)
{
    if (exchange->fresh_only)
        return NULL;
    struct lb_conn *conn =
        exchange->client->own.count ? lb_conn_take(&l7->conns, &exchange->client->own, backend, LB_USE_LOGIN) : NULL;
    if (conn || exchange->upgrade || (!exchange->replayable && has_lost_one(l7, backend)))
        return conn;
    const struct lb_conn_stack *among =
        lb_http_pool(l7, exchange)->send_proxy ? &exchange->client->own : &l7->conns.stacks[backend];
    return lb_conn_take(&l7->conns, among, backend, exchange->replayable ? LB_USE_REPEATABLE : LB_USE_ONCE);
}

/* Nobody is left to ask, or the budget is spent. */
static struct lb_verdict give_up(const struct lb_attempt *attempt)
{
    const struct lb_exchange *exchange = attempt->client;
    if (lb_attempt_end(attempt) != LB_ENDED_UNREACHABLE)
        return lb_verdict_respond(503, "the balancer has no connection left");
    if (exchange->timed_out)
        return lb_verdict_respond(504, "no backend accepted a connection in time");
    return lb_verdict_error(502, LB_ERROR_NO_BACKEND, "no backend could be reached");
}

/* Some could not be reached: are others merely full, so that one of them may be waited for? */
static int may_wait(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    struct lb_wish wish = {.tried = exchange->tried,
                           .tried_count = exchange->tried_count,
                           .worker = l7->ctx->worker,
                           .now_ms = (uint32_t)lb_now_ms(l7->ctx)};
    return exchange->tried_count < LB_MAX_TRIED && lb_view_some_are_full(&l7->ctx->shm, exchange->pool, &wish);
}

/* To the end of the queue, if there is room. */
static struct lb_verdict enqueue(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (lb_http_enqueue(l7, exchange) < 0)
        return lb_http_refused(exchange, lb_verdict_error(503, may_wait(l7, exchange) ? LB_ERROR_QUEUE_FULL : LB_ERROR_NO_BACKEND,
                                                          "no backend can take the request"));
    return lb_verdict(LB_NEXT_QUEUE);
}

static uint32_t pick_for(const struct lb_attempt *attempt)
{
    return pick(attempt->context, attempt->client);
}

/* Does it go by HTTP/2, on a connection that it shares with others? */
static int is_multiplexed(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    struct lb_spoken spoken = lb_http_spoken(l7, exchange);
    lb_why_speak(&l7->ctx->shm, l7->ctx->worker, exchange->decision, spoken.protocol, spoken.why);
    return spoken.protocol == LB_SPEAKS_HTTP2;
}

static int reuse(const struct lb_attempt *attempt)
{
    struct lb_l7 *l7 = attempt->context;
    struct lb_exchange *exchange = attempt->client;
    if (is_multiplexed(l7, exchange))
        return l7->multiplexer->join(l7, exchange);
    struct lb_conn *conn = kept_conn(l7, exchange, exchange->backend);
    if (!conn)
        return 0;
    lb_http_own(l7, exchange, conn);
    lb_add(&l7->ctx->row->connections_reused, 1);
    return 1;
}

static int begin_to_connect(const struct lb_attempt *attempt)
{
    struct lb_l7 *l7 = attempt->context;
    struct lb_exchange *exchange = attempt->client;
    uint32_t send_proxy = lb_http_pool(l7, exchange)->send_proxy;
    struct lb_conn *conn;
    if (is_multiplexed(l7, exchange))
        return l7->multiplexer->connect(l7, exchange);
    int error = lb_conn_connect(&l7->conns, exchange->backend, exchange->pool, &conn);
    if (error)
        return error;
    lb_http_own(l7, exchange, conn);
    if (send_proxy)
        lb_conn_bind(conn, &exchange->client->own, send_proxy);
    return 0;
}

static void leave(const struct lb_attempt *attempt, enum lb_end why)
{
    lb_http_decided(attempt->context, attempt->client, why);
    lb_http_leave_backend(attempt->context, attempt->client, LB_CONN_CUT);
}

static const struct lb_attempt_ops http_ops = {.pick = pick_for, .reuse = reuse, .connect = begin_to_connect, .leave = leave};

/* error: what the attempt before came to, 0 at first. backend: picked already, or LB_NONE. l7->message is the request. */
static struct lb_verdict reach(struct lb_l7 *l7, struct lb_exchange *exchange, int error, uint32_t backend)
{
    struct lb_attempt attempt = {
        .ops = &http_ops,
        .ctx = l7->ctx,
        .context = l7,
        .client = exchange,
        .tried = exchange->tried,
        .tried_count = &exchange->tried_count,
        .shortages = &exchange->shortages,
        .backend = &exchange->backend,
        .pool = exchange->pool,
    };
    exchange->timed_out |= error == ETIMEDOUT;
    switch (lb_attempt_next(&attempt, error, backend)) {
    case LB_ATTEMPT_BEGUN:
        return lb_verdict(LB_NEXT_CONNECT);
    case LB_ATTEMPT_REUSED:
        return lb_verdict(LB_NEXT_SEND);
    case LB_ATTEMPT_NOBODY:
        if (!exchange->tried_count || may_wait(l7, exchange))
            return enqueue(l7, exchange);
        break;
    case LB_ATTEMPT_SPENT:
        break;
    }
    return lb_http_refused(exchange, give_up(&attempt));
}

struct lb_verdict lb_http_attempt(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    const struct lb_http_queue *queue = &l7->queues[exchange->pool];
    exchange->waits_for = LB_NONE;
    if (queue->count > queue->bound && exchange->state != LB_EXCHANGE_QUEUED)
        return enqueue(l7, exchange); /* others were first */
    return reach(l7, exchange, 0, LB_NONE);
}

struct lb_verdict lb_http_attempt_with(struct lb_l7 *l7, struct lb_exchange *exchange, uint32_t backend)
{
    return reach(l7, exchange, 0, backend);
}

struct lb_verdict lb_http_attempt_another(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_verdict said)
{
    lb_sendq_drop(l7->ctx, &exchange->up);
    lb_http_leave_backend(l7, exchange, LB_CONN_CUT);
    lb_http_recall(l7, exchange);
    uint32_t backend = lb_may_retry(l7->ctx, exchange->pool, ECONNRESET, exchange->tried_count, &exchange->shortages)
                         ? pick(l7, exchange)
                         : LB_NONE;
    if (backend == LB_NONE)
        return lb_verdict_respond(said.status, said.why);
    lb_add(&l7->ctx->row->replays, 1);
    return reach(l7, exchange, 0, backend);
}

void lb_http_pass_over(struct lb_exchange *exchange)
{
    if (exchange->tried_count && exchange->tried[exchange->tried_count - 1] == exchange->backend)
        return;
    if (exchange->tried_count < LB_MAX_TRIED)
        exchange->tried[exchange->tried_count++] = exchange->backend;
}

uint32_t lb_http_pick_beside(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (!may_wait(l7, exchange))
        return LB_NONE;
    lb_http_recall(l7, exchange);
    uint32_t backend = pick(l7, exchange);
    exchange->waits_for = LB_NONE;
    return backend;
}

uint32_t lb_http_pick_another(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (!may_wait(l7, exchange) || !lb_may_retry(l7->ctx, exchange->pool, 0, exchange->tried_count, &exchange->shortages))
        return LB_NONE;
    lb_http_decided(l7, exchange, LB_ENDED_BACKEND);
    return lb_http_pick_beside(l7, exchange);
}

struct lb_verdict lb_http_attempt_anew(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->tried_count && exchange->tried[exchange->tried_count - 1] == exchange->backend)
        exchange->tried_count--;
    lb_sendq_drop(l7->ctx, &exchange->up);
    lb_http_leave_backend(l7, exchange, LB_CONN_CUT);
    lb_http_recall(l7, exchange);
    return lb_verdict(LB_NEXT_ATTEMPT);
}

struct lb_verdict lb_http_attempt_failed(struct lb_l7 *l7, struct lb_exchange *exchange, int error)
{
    lb_http_recall(l7, exchange);
    return reach(l7, exchange, error, LB_NONE);
}

static struct lb_verdict failed(int error)
{
    return lb_verdict_number(LB_NEXT_FAILED, (uint32_t)error);
}

/* A backend that wants to know whose connection it is: 0, or -errno. */
static int introduce(struct lb_l7 *l7, const struct lb_exchange *exchange, const struct lb_conn *conn)
{
    static const struct lb_ends as_the_socket_says;
    const struct lb_proxy_info *proxy_info = lb_proxy_info_at(&l7->ctx->proxy_info, exchange->client->proxy_info);
    struct lb_proxy_header who = {&exchange->client->side, conn->side.fd, exchange->client->listener, conn->header,
                                  proxy_info ? &proxy_info->ends : &as_the_socket_says};
    return conn->header ? lb_proxy_send(l7->ctx, &who) : 0;
}

/* Its backend chose HTTP/2: the connection carries others from now on, and those that come go there at once. */
static int shift(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_conn *conn)
{
    struct lb_side side = conn->side;
    exchange->conn = LB_SLAB_NONE;
    lb_conn_forget(&l7->conns, conn);
    return l7->multiplexer->adopt(l7, exchange, &side);
}

/* What has been agreed on is known for all that follow. */
static int has_chosen_http2(struct lb_l7 *l7, const struct lb_exchange *exchange, const struct lb_conn *conn)
{
    if (!conn->side.tls || !lb_http_may_be_either(l7, exchange))
        return 0;
    int http2 = lb_tls_agreed_on(conn->side.tls, "h2");
    uint8_t speaks = http2 ? LB_SPEAKS_HTTP2 : LB_SPEAKS_HTTP1;
    lb_report_of(l7->ctx, exchange->backend)->speaks = speaks;
    lb_why_speak(&l7->ctx->shm, l7->ctx->worker, exchange->decision, speaks, LB_SPOKEN_BY_ALPN);
    return http2;
}

/* The request is wanted now. */
static struct lb_verdict reached(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    lb_timing_note(&l7->ctx->shm, l7->ctx->worker, exchange->pool, LB_TIMING_CONNECT,
                   (uint32_t)l7->ctx->now_us - exchange->sent_us);
    lb_health_connected(lb_report_of(l7->ctx, exchange->backend), lb_now_ms(l7->ctx));
    exchange->sent_us = (uint32_t)l7->ctx->now_us;
    lb_http_recall(l7, exchange);
    return lb_verdict(LB_NEXT_SEND);
}

struct lb_verdict lb_http_connected(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_conn *conn = lb_conn_at(&l7->conns, exchange->conn);
    if (!conn->side.tls && lb_report_is_self(l7->ctx, exchange->backend, conn->side.fd))
        return failed(ECONNREFUSED);
    int untold = conn->side.tls ? 0 : introduce(l7, exchange, conn);
    if (untold)
        return failed(-untold);
    int error = lb_backend_tls(l7->ctx, exchange->pool, exchange->backend, &conn->side, lb_http_offer(l7, exchange));
    if (error)
        return error == EAGAIN ? lb_verdict(LB_NEXT_WAIT) : failed(error);
    if (has_chosen_http2(l7, exchange, conn)) {
        error = shift(l7, exchange, conn);
        return error ? failed(error) : reached(l7, exchange);
    }
    if (lb_conn_spoke_first(&l7->conns, conn)) {
        if (conn->side.tls)
            return failed(EPROTO);
        exchange->conn_keeps = 0; /* this client's response, if it is one; another may follow it */
    }
    return reached(l7, exchange);
}

struct lb_verdict lb_http_attempt_queued(struct lb_l7 *l7, struct lb_exchange *exchange, int *nobody)
{
    struct lb_http_queue *queue = &l7->queues[exchange->pool];
    int bound = exchange->waits_for != LB_NONE;
    if (bound ? lb_http_still_waits(l7, exchange) : *nobody)
        return lb_verdict(LB_NEXT_WAIT);
    lb_http_recall(l7, exchange);
    uint32_t backend = pick(l7, exchange);
    queue->bound = queue->bound - (uint32_t)bound + (exchange->waits_for != LB_NONE);
    if (backend != LB_NONE)
        return lb_verdict_number(LB_NEXT_PICKED, backend);
    *nobody |= exchange->waits_for == LB_NONE;
    return lb_verdict(LB_NEXT_WAIT);
}
