#include "h1_client.h"

#include <string.h>

#include "../core/io.h"
#include "../table/account.h"
#include "../table/budget.h"
#include "../table/clients.h"
#include "bad_request.h"
#include "belongs.h"
#include "exchanges.h"
#include "h1_encode.h"
#include "health.h"
#include "input.h"
#include "request_log.h"
#include "unsent.h"

enum { MOST_LIMITED = 8 }; /* requests in a row that are told 429 on one connection */

static struct lb_head_limits limits_of(const struct lb_listener_row *listener)
{
    return (struct lb_head_limits){listener->max_header_bytes, listener->max_target, listener->max_headers};
}

static int is_pool(const struct lb_l7 *l7, uint32_t pool)
{
    return pool < l7->ctx->shm.head->max_pools;
}

/* Until its request is routed, its pool is its listener's. */
static struct lb_exchange *begin_exchange(struct lb_l7 *l7, struct lb_h1 *h1)
{
    struct lb_exchange *exchange = lb_exchange_take(l7, h1);
    uint32_t pool = lb_http_client_listener(l7, &h1->client)->pool;
    lb_add(&l7->ctx->row->requests, 1);
    lb_add(&l7->ctx->row->requests_active, 1);
    exchange->open = 1;
    exchange->minor = 1;
    exchange->pool = (uint16_t)(is_pool(l7, pool) ? pool : 0);
    h1->unsent = 0;
    return exchange;
}

/* --- a whole head --------------------------------------------------------------------------------------------------- */

/* The first of a chunked body, framed anew where it lies; what follows it moves up. */
static enum lb_reading take_chunks(struct lb_l7 *l7, struct lb_exchange *exchange, uint8_t rules)
{
    struct lb_body *body = &exchange->request;
    struct lb_chunk_piece piece;
    char *bytes = lb_input_at(l7, &exchange->in) + exchange->in.next;
    uint32_t here = exchange->in.end - exchange->in.next;
    uint64_t most = lb_http_listener(l7, exchange)->max_body;
    body->chunked.rules = rules;
    enum lb_chunking chunking = lb_chunked_read(&body->chunked, bytes, here, &piece);
    if (chunking == LB_CHUNKS_BAD)
        return LB_READ_BAD;
    body->whole = chunking == LB_CHUNKS_DONE;
    body->left = piece.used; /* of a chunked body: what has passed */
    memmove(bytes, piece.out, piece.out_count);
    memmove(bytes + piece.out_count, bytes + piece.used, here - piece.used);
    exchange->bytes_in += piece.used - piece.out_count;
    exchange->in.end -= piece.used - piece.out_count;
    exchange->in.next += piece.out_count;
    return most && body->left + lb_chunked_data(&body->chunked) > most ? LB_READ_TOO_LARGE : LB_READ_DONE;
}

/* What has come of the body already. */
static enum lb_reading take_body(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_message *message, uint8_t rules)
{
    struct lb_body *body = &exchange->request;
    uint64_t most = lb_http_listener(l7, exchange)->max_body;
    uint32_t here = exchange->in.end - exchange->in.next, used;
    body->framing = message->framing;
    switch ((enum lb_framing)message->framing) {
    case LB_BODY_NONE:
    case LB_BODY_TO_END:
        body->whole = 1;
        return LB_READ_DONE;
    case LB_BODY_LENGTH:
        if (most && message->length > most)
            return LB_READ_TOO_LARGE;
        used = here < message->length ? here : (uint32_t)message->length;
        exchange->in.next += used;
        body->left = message->length - used;
        body->whole = body->left == 0;
        return LB_READ_DONE;
    case LB_BODY_CHUNKED:
        return take_chunks(l7, exchange, rules);
    }
    return LB_READ_BAD;
}

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
static uint32_t must_wait_s(struct lb_l7 *l7, struct lb_h1 *h1)
{
    const struct lb_worker_context *ctx = l7->ctx;
    if (!lb_http_client_listener(l7, &h1->client)->client_request_rate || h1->client.trusted)
        return 0;
    if (!h1->client.counted)
        h1->client.counted = lb_client_count(&ctx->shm, ctx->worker, h1->client.listener, h1->client.ip, ctx->now_us);
    return lb_client_asks(&ctx->shm, h1->client.listener, h1->client.counted, ctx->now_us);
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

/* On to the pool that it is for. */
static struct lb_verdict go(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, enum lb_routed routed,
                            const struct lb_routed_to *to)
{
    if (routed == LB_ROUTED_AMBIGUOUS)
        return lb_http_bad_request(l7, exchange, LB_READ_BAD);
    if (!is_pool(l7, to->pool))
        return lb_verdict_respond(404, "no matching route");
    exchange->pool = (uint16_t)to->pool;
    exchange->routed = 1;
    exchange->cost = (uint16_t)cost_of(l7, exchange, bytes, to->pool, to->cost);
    lb_budget_session(&l7->ctx->shm, l7->ctx->worker, to->pool, (uint32_t)(l7->ctx->now_us / 1000000));
    return lb_verdict(LB_NEXT_ATTEMPT);
}

/* Is h2c among the protocols, whatever its version? A tunnel of HTTP/2 would lead past all routes. */
static int offers_h2c(const char *bytes, struct lb_span protocols)
{
    uint32_t at = 0;
    for (;;) {
        struct lb_span protocol = lb_list_next(bytes, protocols, &at);
        const char *slash = protocol.length ? memchr(bytes + protocol.at, '/', protocol.length) : NULL;
        uint32_t length = slash ? (uint32_t)(slash - (bytes + protocol.at)) : protocol.length;
        if (!protocol.length || lb_same_word(bytes + protocol.at, length, "h2c", 3))
            return protocol.length != 0;
    }
}

/* RFC 9110 7.4: what is asked for by https came by TLS, to us or to a proxy whose word is taken. */
static int came_by_tls(const struct lb_l7 *l7, const struct lb_exchange *exchange, const char *bytes)
{
    const struct lb_field *said = exchange->client->trusted ? lb_field_find(&l7->message, bytes, "x-forwarded-proto", 17) : NULL;
    return lb_http_client_spoke_tls(l7, exchange->client) ||
           (said && lb_same_word(bytes + said->value.at, said->value.length, "https", 5));
}

static struct lb_verdict begin(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_h1 *h1 = lb_h1_of(exchange->client);
    const struct lb_message *message = &l7->message;
    const char *bytes = lb_input_at(l7, &exchange->in) + exchange->in.start;
    exchange->method = message->method;
    exchange->minor = message->head.minor;
    exchange->upgrade = message->upgrade && !offers_h2c(bytes, message->upgrade_to);
    exchange->in.next = exchange->in.start + message->head.bytes;
    exchange->navigates = message->navigates;
    lb_http_log_request(l7, exchange, bytes);
    if (message->authority.length > LB_AUTHORITY_BYTES || (message->https && !came_by_tls(l7, exchange, bytes)))
        return lb_http_bad_request(l7, exchange, LB_READ_BAD);
    struct lb_routed_to to = {.pool = lb_http_client_listener(l7, &h1->client)->pool};
    enum lb_routed routed = lb_routes_match(l7->routes, h1->client.listener, message, bytes, &to);
    int trailers = is_pool(l7, to.pool) && l7->ctx->shm.pools[to.pool].trailers;
    enum lb_reading reading = take_body(l7, exchange, message, trailers ? LB_CHUNKS_TRAILERS : 0);
    exchange->bytes_in += exchange->in.next - exchange->in.start;
    exchange->expects =
        message->expects && exchange->minor && !exchange->request.whole && exchange->bytes_in == message->head.bytes;
    if (exchange->expects)
        lb_h1_note_expectation(h1, message, bytes);
    if (reading != LB_READ_DONE)
        return lb_http_bad_request(l7, exchange, reading);
    exchange->persistent = message->persistent && !lb_http_client_must_close(l7, &h1->client);
    exchange->replayable = exchange->request.whole && lb_method_is_idempotent((enum lb_method)exchange->method);
    if (lb_http_asks_health(l7, exchange, bytes)) /* by itself: no limit, no route */
        return lb_http_respond_health(l7, exchange);
    uint32_t wait_s = must_wait_s(l7, h1);
    if (wait_s)
        return too_fast(l7, exchange, wait_s);
    h1->client.limited = 0;
    return go(l7, exchange, bytes, routed, &to);
}

/* --- bytes from the client ------------------------------------------------------------------------------------------ */

static struct lb_verdict client_silent(struct lb_l7 *l7, struct lb_h1 *h1, ssize_t got)
{
    int blocked = got < 0 && errno == EAGAIN, later = got < 0 && errno == EBUSY, part = h1->in.end > h1->in.start;
    if (!part)
        lb_input_drop(l7, &h1->in);
    if (later)
        return lb_verdict(LB_NEXT_LATER);
    if (blocked) {
        h1->client.side.readable = 0;
        return lb_verdict(LB_NEXT_WAIT);
    }
    return lb_verdict_end(got < 0 || lb_input_has_begun(l7, &h1->in) ? LB_ENDED_CLIENT : LB_ENDED_DONE);
}

/* A head is larger than most, as its listener allows, and too many such are under way. */
static struct lb_verdict no_room(struct lb_l7 *l7, struct lb_h1 *h1)
{
    (void)begin_exchange(l7, h1);
    return lb_verdict_respond(503, "the balancer has no buffer left");
}

static struct lb_verdict fill(struct lb_l7 *l7, struct lb_h1 *h1)
{
    lb_input_pack(l7, &h1->in);
    if (h1->in.end == lb_heads_room(h1->in.buffer) && lb_heads_grow(l7->ctx, &l7->heads, &h1->in.buffer, h1->in.end) < 0)
        return no_room(l7, h1);
    size_t room = lb_heads_room(h1->in.buffer) - h1->in.end;
    ssize_t got = lb_side_recv(&h1->client.side, lb_input_at(l7, &h1->in) + h1->in.end, room);
    if (got <= 0)
        return client_silent(l7, h1, got);
    lb_side_got(&h1->client.side, (size_t)got, room); /* emptied: what comes next raises an edge */
    if (!lb_input_has_begun(l7, &h1->in)) {
        h1->client.since_ms = (uint32_t)lb_now_ms(l7->ctx);
        h1->in.seen = 0;
    }
    h1->in.end += (uint32_t)got;
    lb_add(&l7->ctx->row->bytes_in, (uint64_t)got);
    return lb_verdict(LB_NEXT_AGAIN);
}

/* 417 was passed on, and what comes is not another request yet. */
static struct lb_verdict take_unsent(struct lb_l7 *l7, struct lb_h1 *h1)
{
    switch (lb_h1_unsent(l7, h1)) {
    case LB_UNSENT_OPEN:
        return h1->client.side.readable ? fill(l7, h1) : lb_verdict(LB_NEXT_WAIT);
    case LB_UNSENT_SETTLED:
        return lb_verdict(LB_NEXT_AGAIN);
    case LB_UNSENT_BODY:
        break;
    }
    (void)lb_side_finish(&h1->client.side);
    return lb_verdict(LB_NEXT_LINGER);
}

struct lb_verdict lb_h1_take_request(struct lb_l7 *l7, struct lb_h1 *h1)
{
    if (h1->unsent)
        return take_unsent(l7, h1);
    struct lb_head_limits limits = limits_of(lb_http_client_listener(l7, &h1->client));
    uint32_t count = h1->in.end - h1->in.start;
    const char *bytes = count ? lb_input_at(l7, &h1->in) + h1->in.start : NULL;
    if (!count || (h1->in.seen && lb_head_waits(bytes, h1->in.seen, count, &limits))) {
        h1->in.seen = count;
        return h1->client.side.readable ? fill(l7, h1) : lb_verdict(LB_NEXT_WAIT);
    }
    enum lb_reading reading = lb_message_request(&l7->message, bytes, count, &limits);
    h1->in.seen = count;
    if (reading == LB_READ_PARTIAL)
        return h1->client.side.readable ? fill(l7, h1) : lb_verdict(LB_NEXT_WAIT);
    struct lb_exchange *exchange = begin_exchange(l7, h1);
    return reading == LB_READ_DONE ? begin(l7, exchange) : lb_http_bad_request(l7, exchange, reading);
}
