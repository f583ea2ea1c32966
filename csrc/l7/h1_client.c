#include "h1_client.h"

#include <string.h>

#include "../core/io.h"
#include "../table/account.h"
#include "../table/budget.h"
#include "../table/clients.h"
#include "bad_request.h"
#include "belongs.h"
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

static void begin_exchange(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_worker_row *row = l7->ctx->row;
    lb_add(&row->requests, 1);
    lb_add(&row->requests_active, 1);
    client->open = 1;
    client->began_us = l7->ctx->now_us;
    client->bytes_in = client->bytes_out = 0;
    client->reached_us = client->first_us = LB_NEVER_US;
    client->status = client->routed = client->reused = 0;
    client->tried_count = client->fresh_only = client->sticky_new = client->timed_out = client->parts = 0;
    client->moved_on = client->shortages = 0;
    client->persistent = client->replayable = client->upgrade = client->expects = client->unsent = client->switching = 0;
    client->stage = LB_RESPONSE_AWAITED;
    client->request = (struct lb_body){0};
    client->response = (struct lb_body){0};
}

/* --- a whole head --------------------------------------------------------------------------------------------------- */

/* The first of a chunked body, framed anew where it lies; what follows it moves up. */
static enum lb_reading take_chunks(struct lb_l7 *l7, struct lb_http *client, uint8_t rules)
{
    struct lb_body *body = &client->request;
    struct lb_chunk_piece piece;
    char *bytes = lb_http_in(l7, client) + client->in_next;
    uint32_t here = client->in_end - client->in_next;
    uint64_t most = lb_http_listener(l7, client)->max_body;
    body->chunked.rules = rules;
    enum lb_chunking chunking = lb_chunked_read(&body->chunked, bytes, here, &piece);
    if (chunking == LB_CHUNKS_BAD)
        return LB_READ_BAD;
    body->whole = chunking == LB_CHUNKS_DONE;
    body->left = piece.used; /* of a chunked body: what has passed */
    memmove(bytes, piece.out, piece.out_count);
    memmove(bytes + piece.out_count, bytes + piece.used, here - piece.used);
    client->bytes_in += piece.used - piece.out_count;
    client->in_end -= piece.used - piece.out_count;
    client->in_next += piece.out_count;
    return most && body->left + lb_chunked_data(&body->chunked) > most ? LB_READ_TOO_LARGE : LB_READ_DONE;
}

/* What has come of the body already. */
static enum lb_reading take_body(struct lb_l7 *l7, struct lb_http *client, const struct lb_message *message, uint8_t rules)
{
    struct lb_body *body = &client->request;
    uint64_t most = lb_http_listener(l7, client)->max_body;
    uint32_t here = client->in_end - client->in_next, used;
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
        client->in_next += used;
        body->left = message->length - used;
        body->whole = body->left == 0;
        return LB_READ_DONE;
    case LB_BODY_CHUNKED:
        return take_chunks(l7, client, rules);
    }
    return LB_READ_BAD;
}

static int is_pool(const struct lb_l7 *l7, uint32_t pool)
{
    return pool < l7->ctx->shm.head->max_pools;
}

/* What the exchange is charged with: what X-LB-Cost says, if its sender may, up to the pool's max_cost; else its route's cost; else 1. */
static uint32_t cost_of(struct lb_l7 *l7, const struct lb_http *client, const char *bytes, uint32_t pool, uint32_t route_cost)
{
    uint32_t most = l7->ctx->shm.pools[pool].max_cost, cost = 0;
    int may_say = client->trusted || lb_http_listener(l7, client)->cost_header == LB_COST_ANY;
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
static uint32_t must_wait_s(struct lb_l7 *l7, struct lb_http *client)
{
    const struct lb_worker_context *ctx = l7->ctx;
    if (!lb_http_listener(l7, client)->client_request_rate || client->trusted)
        return 0;
    if (!client->counted)
        client->counted = lb_client_count(&ctx->shm, ctx->worker, client->listener, client->ip, ctx->now_us);
    return lb_client_asks(&ctx->shm, client->listener, client->counted, ctx->now_us);
}

/* Whoever waits as it is told keeps its connection; whoever does not, loses it. */
static struct lb_verdict too_fast(struct lb_l7 *l7, struct lb_http *client, uint32_t wait_s)
{
    lb_add(&l7->ctx->row->requests_limited, 1);
    if (++client->limited >= MOST_LIMITED)
        client->persistent = 0;
    return (struct lb_verdict){
        .next = LB_NEXT_RESPOND, .status = 429, .why = "too many requests come from this client", .number = wait_s};
}

/* On to the pool that it is for. */
static struct lb_verdict go(struct lb_l7 *l7, struct lb_http *client, const char *bytes, enum lb_routed routed,
                            const struct lb_routed_to *to)
{
    if (routed == LB_ROUTED_AMBIGUOUS)
        return lb_http_bad_request(l7, client, LB_READ_BAD);
    if (!is_pool(l7, to->pool))
        return lb_verdict_respond(404, "no matching route");
    client->pool = (uint16_t)to->pool;
    client->routed = 1;
    client->cost = (uint16_t)cost_of(l7, client, bytes, to->pool, to->cost);
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
static int came_by_tls(const struct lb_l7 *l7, const struct lb_http *client, const char *bytes)
{
    const struct lb_field *said = client->trusted ? lb_field_find(&l7->message, bytes, "x-forwarded-proto", 17) : NULL;
    return lb_http_spoke_tls(l7, client) || (said && lb_same_word(bytes + said->value.at, said->value.length, "https", 5));
}

static struct lb_verdict begin(struct lb_l7 *l7, struct lb_http *client)
{
    const struct lb_message *message = &l7->message;
    const char *bytes = lb_http_in(l7, client) + client->in_start;
    client->method = message->method;
    client->minor = message->head.minor;
    client->upgrade = message->upgrade && !offers_h2c(bytes, message->upgrade_to);
    client->in_next = client->in_start + message->head.bytes;
    client->since_ms = (uint32_t)lb_now_ms(l7->ctx);
    client->navigates = message->navigates;
    lb_http_log_request(l7, client, bytes);
    if (message->authority.length > LB_AUTHORITY_BYTES || (message->https && !came_by_tls(l7, client, bytes)))
        return lb_http_bad_request(l7, client, LB_READ_BAD);
    struct lb_routed_to to = {.pool = lb_http_listener(l7, client)->pool};
    enum lb_routed routed = lb_routes_match(l7->routes, client->listener, message, bytes, &to);
    int trailers = is_pool(l7, to.pool) && l7->ctx->shm.pools[to.pool].trailers;
    enum lb_reading reading = take_body(l7, client, message, trailers ? LB_CHUNKS_TRAILERS : 0);
    client->bytes_in += client->in_next - client->in_start;
    client->expects = message->expects && client->minor && !client->request.whole && client->bytes_in == message->head.bytes;
    lb_http_note_expectation(client, message, bytes);
    if (reading != LB_READ_DONE)
        return lb_http_bad_request(l7, client, reading);
    client->persistent = message->persistent && !lb_http_must_close(l7, client);
    client->replayable = client->request.whole && lb_method_is_idempotent((enum lb_method)client->method);
    if (lb_http_asks_health(l7, client, bytes)) /* by itself: no limit, no route */
        return lb_http_respond_health(l7, client);
    uint32_t wait_s = must_wait_s(l7, client);
    if (wait_s)
        return too_fast(l7, client, wait_s);
    client->limited = 0;
    return go(l7, client, bytes, routed, &to);
}

/* --- bytes from the client ------------------------------------------------------------------------------------------ */

static struct lb_verdict client_silent(struct lb_l7 *l7, struct lb_http *client, ssize_t got)
{
    int blocked = got < 0 && errno == EAGAIN, later = got < 0 && errno == EBUSY, part = client->in_end > client->in_start;
    if (!part)
        lb_http_drop_in(l7, client);
    if (later)
        return lb_verdict(LB_NEXT_LATER);
    if (blocked) {
        client->client.readable = 0;
        return lb_verdict(LB_NEXT_WAIT);
    }
    return lb_verdict_end(got < 0 || lb_http_has_begun(l7, client) ? LB_END_CLIENT_LEFT : LB_END_DONE);
}

/* A head is larger than most, as its listener allows, and too many such are under way. */
static struct lb_verdict no_room(struct lb_l7 *l7, struct lb_http *client)
{
    begin_exchange(l7, client);
    client->minor = 1;
    client->method = LB_METHOD_OTHER;
    return lb_verdict_respond(503, "the balancer has no buffer left");
}

static struct lb_verdict fill(struct lb_l7 *l7, struct lb_http *client)
{
    lb_http_pack(l7, client);
    if (client->in_end == lb_heads_room(client->in) && lb_heads_grow(l7->ctx, &l7->heads, &client->in, client->in_end) < 0)
        return no_room(l7, client);
    size_t room = lb_heads_room(client->in) - client->in_end;
    ssize_t got = lb_side_recv(&client->client, lb_http_in(l7, client) + client->in_end, room);
    if (got <= 0)
        return client_silent(l7, client, got);
    lb_side_got(&client->client, (size_t)got, room); /* emptied: what comes next raises an edge */
    if (!lb_http_has_begun(l7, client)) {
        client->since_ms = (uint32_t)lb_now_ms(l7->ctx);
        client->in_seen = 0;
    }
    client->in_end += (uint32_t)got;
    lb_add(&l7->ctx->row->bytes_in, (uint64_t)got);
    return lb_verdict(LB_NEXT_AGAIN);
}

/* 417 was passed on, and what comes is not another request yet. */
static struct lb_verdict take_unsent(struct lb_l7 *l7, struct lb_http *client)
{
    switch (lb_http_unsent(l7, client)) {
    case LB_UNSENT_OPEN:
        return client->client.readable ? fill(l7, client) : lb_verdict(LB_NEXT_WAIT);
    case LB_UNSENT_SETTLED:
        return lb_verdict(LB_NEXT_AGAIN);
    case LB_UNSENT_BODY:
        break;
    }
    (void)lb_side_finish(&client->client);
    return lb_verdict(LB_NEXT_LINGER);
}

struct lb_verdict lb_http_take_request(struct lb_l7 *l7, struct lb_http *client)
{
    if (client->unsent)
        return take_unsent(l7, client);
    struct lb_head_limits limits = limits_of(lb_http_listener(l7, client));
    uint32_t count = client->in_end - client->in_start;
    const char *bytes = count ? lb_http_in(l7, client) + client->in_start : NULL;
    if (!count || (client->in_seen && lb_head_waits(bytes, client->in_seen, count, &limits))) {
        client->in_seen = count;
        return client->client.readable ? fill(l7, client) : lb_verdict(LB_NEXT_WAIT);
    }
    enum lb_reading reading = lb_message_request(&l7->message, bytes, count, &limits);
    client->in_seen = count;
    if (reading == LB_READ_PARTIAL)
        return client->client.readable ? fill(l7, client) : lb_verdict(LB_NEXT_WAIT);
    begin_exchange(l7, client);
    if (reading == LB_READ_DONE)
        return begin(l7, client);
    client->minor = 1;
    client->method = LB_METHOD_OTHER;
    return lb_http_bad_request(l7, client, reading);
}
