#include "request.h"

#include "../core/random.h"
#include "../table/budget.h"
#include "../table/account.h"
#include "../table/clients.h"
#include "../table/keys.h"
#include "../table/why.h"
#include "bad_request.h"
#include "belongs.h"
#include "body.h"
#include "edits.h"
#include "elsewhere.h"
#include "forward.h"
#include "granted.h"
#include "grpc.h"
#include "grpc_web.h"
#include "guard.h"
#include "health.h"
#include "held_route.h"
#include "limit_key.h"
#include "request_log.h"
#include "route_answer.h"
#include "text_body.h"
#include "twin.h"

enum { MOST_LIMITED = 8 }; /* requests in a row that are told 429 on one connection */

static int is_pool(const struct lb_l7 *l7, uint32_t pool)
{
    return pool < l7->ctx->shm.head->max_pools;
}

/* Until it is routed, its pool is its listener's. */
void lb_http_count_request(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    uint32_t pool = lb_http_listener(l7, exchange)->pool;
    lb_add(&l7->ctx->row->requests, 1);
    lb_add(&l7->ctx->row->requests_active, 1);
    exchange->open = 1;
    exchange->minor = 1;
    exchange->pool = (uint16_t)(is_pool(l7, pool) ? pool : 0);
}

int lb_http_came_by_tls(const struct lb_l7 *l7, const struct lb_exchange *exchange, const char *bytes)
{
    const struct lb_field *said = exchange->client->trusted ? lb_field_find(&l7->message, bytes, "x-forwarded-proto", 17) : NULL;
    return lb_http_client_spoke_tls(l7, exchange->client) ||
           (said && lb_same_word(bytes + said->value.at, said->value.length, "https", 5));
}

/* Do its pool's backends take calls of gRPC, which are said by HTTP/2 alone? */
static int takes_calls(const struct lb_pool_row *pool)
{
    return pool->protocol == LB_BACKEND_HTTP2 || (pool->protocol == LB_BACKEND_AUTO && !pool->send_proxy);
}

/* What it is of gRPC. A call of gRPC-Web becomes one of gRPC on its way to a pool that takes those. */
static void look_at_call(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, uint32_t pool)
{
    const struct lb_message *message = &l7->message;
    exchange->grpc_web = 0;
    if (lb_http_listener(l7, exchange)->grpc_web && is_pool(l7, pool) && takes_calls(&l7->ctx->shm.pools[pool]))
        exchange->grpc_web = lb_grpc_web_of(message, bytes);
    exchange->grpc = exchange->grpc_web || lb_grpc_is_call(message, bytes);
    exchange->grpc_status = LB_GRPC_NONE;
    exchange->grpc_ms = exchange->grpc ? lb_grpc_timeout_ms(message, bytes) : 0;
}

int lb_http_look_at_request(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, struct lb_request_way *way)
{
    const struct lb_message *message = &l7->message;
    exchange->method = message->method;
    exchange->minor = message->head.minor;
    exchange->navigates = message->navigates;
    lb_http_log_request(l7, exchange, bytes);
    if (message->authority.length > LB_AUTHORITY_BYTES || (message->https && !lb_http_came_by_tls(l7, exchange, bytes)))
        return -1;
    if (lb_http_listener(l7, exchange)->guarded) /* its guard was published before its row said so */
        lb_http_follow_routes(l7);
    way->to = (struct lb_routed_to){.pool = lb_http_listener(l7, exchange)->pool};
    struct lb_routed_client client = {exchange->client->ip, exchange->client->listener};
    way->routed = lb_routes_match(l7->routes, &client, message, bytes, NULL, &way->to);
    lb_http_hold_route(l7, exchange, &way->to);
    way->trailers = way->routed != LB_ROUTED_BY_BODY && is_pool(l7, way->to.pool) && l7->ctx->shm.pools[way->to.pool].trailers;
    look_at_call(l7, exchange, bytes, way->to.pool);
    return 0;
}

/* --- may it go on, and whereto? ------------------------------------------------------------------------------------- */

/* What the exchange is charged with: what X-LB-Cost says, if its sender may, up to the pool's max_cost; else its route's cost; else 1. */
static uint32_t cost_of(struct lb_l7 *l7, const struct lb_exchange *exchange, const char *bytes, uint32_t pool,
                        uint32_t route_cost)
{
    uint32_t most = l7->ctx->shm.pools[pool].max_cost, cost = 0;
    int may_say = exchange->client->trusted || lb_http_listener(l7, exchange)->cost_header == LB_COST_ANY;
    const struct lb_field *field = most && may_say ? lb_field_find(&l7->message, bytes, "x-lb-cost", 9) : NULL;
    for (uint32_t i = 0; field && i < field->value.length; i++) {
        char digit = bytes[field->value.at + i];
        if (digit < '0' || digit > '9') {
            cost = 0;
            break;
        }
        cost = cost * 10 + (uint32_t)(digit - '0');
        cost = cost < LB_MOST_COST ? cost : LB_MOST_COST;
    }
    if (cost)
        return cost < most ? cost : most;
    return route_cost ? route_cost : 1;
}

/* Seconds that the client must wait before it may ask; 0: none. One that was there before it was limited is counted from now on. */
static uint32_t must_wait_s(struct lb_l7 *l7, struct lb_http_client *client)
{
    const struct lb_worker_context *ctx = l7->ctx;
    if (!lb_http_client_listener(l7, client)->client_request_rate || client->trusted)
        return 0;
    if (!client->counted)
        client->counted = lb_client_count(&ctx->shm, ctx->worker, client->listener, client->ip, ctx->now_us);
    return lb_client_asks(&ctx->shm, client->listener, client->counted, ctx->now_us);
}

/* Whoever waits as it is told keeps its connection; whoever does not, loses it. */
static struct lb_verdict too_fast(struct lb_l7 *l7, struct lb_exchange *exchange, uint32_t wait_s)
{
    lb_add(&l7->ctx->row->requests_limited, 1);
    if (++exchange->client->limited >= MOST_LIMITED)
        exchange->persistent = 0;
    return (struct lb_verdict){
        .next = LB_NEXT_RESPOND, .status = 429, .why = "too many requests come from this client", .number = wait_s};
}

/* Its route has a mirror: is this one of the requests of which it gets a copy (mirror.h)? */
static void draw_copy(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_routed_to *to)
{
    int goes = !exchange->upgrade && !exchange->grpc_web && lb_random_next(&l7->random) % 100 < to->mirror_percent;
    exchange->mirror = goes ? to->mirror : 0;
}

/* Its route's rate: 0, or seconds after which a request of its key may come again. */
static uint32_t rate_wait_s(struct lb_l7 *l7, const struct lb_exchange *exchange, const char *bytes)
{
    const struct lb_worker_context *ctx = l7->ctx;
    const struct lb_route_row *route = lb_http_route(l7, exchange);
    if (!route || !route->rate_step_ns)
        return 0;
    struct lb_rate rate = {route->rate_step_ns, route->rate_burst};
    return lb_key_asks(&ctx->shm, ctx->worker, lb_http_limit_key(l7, exchange, bytes, route), &rate, ctx->now_us);
}

static struct lb_verdict over_rate(struct lb_l7 *l7, struct lb_exchange *exchange, uint32_t wait_s)
{
    static const struct lb_thought thought = {.candidate = {LB_NONE, LB_NONE}, .score = {-1, -1}, .why = LB_WHY_LIMITED};
    struct lb_pick refused = {.now_us = l7->ctx->now_us,
                              .section = l7->ctx->worker,
                              .pool = exchange->pool,
                              .backend = LB_NONE,
                              .cost = exchange->cost,
                              .route = exchange->route,
                              .thought = &thought};
    (void)lb_why_note(&l7->ctx->shm, &refused);
    if (exchange->way != LB_SLAB_NONE)
        lb_why_way(&l7->ctx->shm, l7->ctx->worker, lb_slab_at(&l7->ways, exchange->way));
    lb_add(&l7->ctx->row->requests_rate_limited, 1);
    return (struct lb_verdict){
        .next = LB_NEXT_RESPOND, .status = 429, .why = "too many requests for this route", .number = wait_s};
}

/* Its pool asks a second backend where the first is late: may it be asked for this request (hedge.h)? Each saves up for those that are. */
static void consider_hedging(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    const struct lb_pool_row *row = lb_http_pool(l7, exchange);
    struct lb_hedges *hedging = &l7->hedging[exchange->pool];
    uint32_t credit = hedging->credit + row->hedge_budget;
    hedging->credit = credit < LB_HEDGE_MOST ? credit : LB_HEDGE_MOST;
    int may = exchange->replayable && exchange->request.framing == LB_BODY_NONE && !exchange->upgrade && !exchange->grpc &&
              !exchange->client->own.count && !row->send_proxy && !row->sticky[0];
    exchange->hedging = may ? LB_HEDGE_MAY_GO : LB_HEDGE_NONE;
}

/* Kept for all that is decided about it: each of its backends may be picked later. */
static void keep_way(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_way *way)
{
    exchange->way = lb_slab_take(&l7->ways); /* as many as exchanges */
    *(struct lb_way *)lb_slab_at(&l7->ways, exchange->way) = *way;
}

/* Anew, where it is here again. */
static int make_edits(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, const struct lb_routed_to *to)
{
    lb_edits_drop(l7, exchange);
    return lb_edits_any(l7) || exchange->granted != LB_SLAB_NONE ? lb_edits_make(l7, exchange, bytes, to) : 0;
}

/* Is it let on by this route? More of its body may have come while its service was asked, and lead it to another route; or other routes came. */
static int is_authorized(const struct lb_l7 *l7, const struct lb_exchange *exchange, const struct lb_routed_to *to)
{
    return exchange->authorized && exchange->asked_row == to->row && exchange->asked_version == l7->routes_version;
}

/* What another route has granted, and whom it has known, does not count. */
static void forget_grant(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    exchange->authorized = 0;
    lb_granted_drop(l7, exchange);
    lb_http_drop_caller(l7, exchange);
}

/* May it go on, with what is done to its heads? LB_NEXT_WAIT: it may. */
static struct lb_verdict pass_guard(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes,
                                    const struct lb_routed_to *to)
{
    struct lb_verdict passed = lb_verdict(LB_NEXT_WAIT);
    if (!is_authorized(l7, exchange, to)) {
        forget_grant(l7, exchange);
        if (lb_http_listener(l7, exchange)->guarded | to->guard)
            passed = lb_http_guard(l7, exchange, bytes, to);
    }
    int edited = make_edits(l7, exchange, bytes, to); /* with what was granted; a refusal has edits, too */
    lb_granted_drop(l7, exchange);
    if (edited >= 0)
        return passed;
    lb_twin_forget_asker(l7, exchange);
    return lb_verdict_respond(LB_READ_HEAD_LARGE, "the headers that it is given are too large");
}

/* On to the pool that it is for. */
static struct lb_verdict go(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, enum lb_routed routed,
                            const struct lb_routed_to *to)
{
    if (routed == LB_ROUTED_BY_BODY)
        return lb_verdict(LB_NEXT_READ);
    if (routed == LB_ROUTED_AMBIGUOUS)
        return lb_http_bad_request(l7, exchange, LB_READ_BAD);
    exchange->json = to->json;
    exchange->model = to->model;
    struct lb_verdict passed = pass_guard(l7, exchange, bytes, to);
    if (lb_verdict_decides(passed))
        return passed;
    if (!is_pool(l7, to->pool))
        return lb_route_answer(l7, exchange, bytes, to);
    exchange->pool = (uint16_t)to->pool;
    exchange->route = to->route;
    exchange->routed = 1;
    if (lb_way_tells(&to->way))
        keep_way(l7, exchange, &to->way);
    exchange->retry_on = lb_http_retry_on(to->retry_on, l7->ctx->shm.pools[to->pool].retry_on);
    if (to->mirror)
        draw_copy(l7, exchange, to);
    exchange->cost = (uint16_t)cost_of(l7, exchange, bytes, to->pool, to->cost);
    uint32_t wait_s = rate_wait_s(l7, exchange, bytes);
    if (wait_s)
        return over_rate(l7, exchange, wait_s);
    if (l7->ctx->shm.pools[to->pool].hedge_budget)
        consider_hedging(l7, exchange);
    lb_budget_session(&l7->ctx->shm, l7->ctx->worker, to->pool, (uint32_t)(l7->ctx->now_us / 1000000));
    return lb_verdict(lb_http_goes_by_text(l7, exchange, bytes) ? LB_NEXT_TEXT : LB_NEXT_ATTEMPT);
}

struct lb_verdict lb_http_route_request(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes,
                                        const struct lb_request_way *way)
{
    exchange->replayable = exchange->request.whole && lb_method_is_idempotent((enum lb_method)exchange->method);
    if (lb_http_asks_health(l7, exchange, bytes)) /* by itself: no limit, no route */
        return lb_http_respond_health(l7, exchange);
    uint32_t wait_s = must_wait_s(l7, exchange->client);
    if (wait_s)
        return too_fast(l7, exchange, wait_s);
    exchange->client->limited = 0;
    return go(l7, exchange, bytes, way->routed, &way->to);
}

/* Is its body larger than its route allows, as far as is known? */
static int is_too_large(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    uint64_t most = lb_http_max_body(l7, exchange);
    if (l7->message.framing == LB_BODY_LENGTH)
        return most && l7->message.length > most;
    return exchange->request.framing == LB_BODY_CHUNKED && lb_body_is_too_large(l7, exchange);
}

struct lb_verdict lb_http_route_by_body(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes,
                                        const struct lb_json_said *said)
{
    struct lb_routed_to to = {.pool = lb_http_listener(l7, exchange)->pool};
    struct lb_routed_client client = {exchange->client->ip, exchange->client->listener};
    enum lb_routed routed = lb_routes_match(l7->routes, &client, &l7->message, bytes, said, &to);
    lb_http_hold_route(l7, exchange, &to);
    if (to.held && is_too_large(l7, exchange)) /* its listener had allowed it */
        return lb_http_bad_request(l7, exchange, LB_READ_TOO_LARGE);
    return go(l7, exchange, bytes, routed, &to);
}

struct lb_verdict lb_http_route_granted(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_routed_to to = {.pool = lb_http_listener(l7, exchange)->pool};
    struct lb_routed_client client = {exchange->client->ip, exchange->client->listener};
    const char *bytes = lb_input_at(l7, &exchange->in) + exchange->in.start;
    lb_http_recall(l7, exchange);
    enum lb_routed routed = lb_routes_match(l7->routes, &client, &l7->message, bytes, NULL, &to);
    lb_http_hold_route(l7, exchange, &to);
    exchange->replayable = exchange->request.whole && lb_method_is_idempotent((enum lb_method)exchange->method);
    return go(l7, exchange, bytes, routed, &to);
}
