#include "auth_request.h"

#include <string.h>
#include <sys/random.h>

#include "../table/budget.h"
#include "../table/why.h"
#include "auth_cache.h"
#include "belongs.h"
#include "edits.h"
#include "syntax.h"

struct piece {
    const char *text;
    uint32_t length;
};

static void grant(struct lb_l7 *l7, struct lb_exchange *exchange, struct piece names, struct piece lines)
{
    lb_granted_keep(l7, exchange, (struct lb_granted){names.length, lines.length}, names.text, lines.text);
}

/* --- the question ------------------------------------------------------------------------------------------------------ */

/* What speaks of the message's body or of its connection does not go along. */
static int goes_along(const struct lb_message *message, const char *bytes, const struct lb_field *field)
{
    switch (field->known) {
    case LB_HOST_FIELD:
    case LB_CONTENT_LENGTH:
    case LB_EXPECT:
    case LB_TRAILER:
    case LB_REMOVED:
        return 0;
    default:
        return !lb_message_is_hop_field(message, bytes, field);
    }
}

/* name: behind its length in a byte, lower case, '-' for '_'. */
static int is_named(const struct lb_field *field, const char *bytes, const char *name)
{
    return field->name.length == (uint8_t)*name && lb_same_name(bytes + field->name.at, name + 1, field->name.length);
}

struct writer {
    char *to;
    char *end;
    int full;
};

static void put(struct writer *writer, const char *bytes, size_t count)
{
    if (count > (size_t)(writer->end - writer->to)) {
        writer->full = 1;
        return;
    }
    writer->to = mempcpy(writer->to, bytes, count);
}

#define PUT(writer, literal) put(writer, literal, sizeof(literal) - 1)

static void put_span(struct writer *writer, const char *bytes, struct lb_span span)
{
    put(writer, bytes + span.at, span.length);
}

static void put_field(struct writer *writer, const char *bytes, const struct lb_field *field)
{
    put_span(writer, bytes, field->name);
    PUT(writer, ": ");
    put_span(writer, bytes, field->value);
    PUT(writer, "\r\n");
}

/* A request without a Host, of HTTP/1.0, stays one. One whose target names the host gets a Host: a header more than it had, and the question is
 * read again before it goes out (twin.c: recall), by the bound that holds for all heads. */
static void write_question(struct writer *writer, const struct lb_message *message, const char *bytes, struct piece target)
{
    uint32_t count = message->authority.length != 0;
    PUT(writer, "GET ");
    put(writer, target.text, target.length);
    if (message->authority.length) {
        PUT(writer, " HTTP/1.1\r\nHost: ");
        put_span(writer, bytes, message->authority);
        PUT(writer, "\r\n");
    } else {
        PUT(writer, " HTTP/1.0\r\n");
    }
    for (uint32_t i = 0; i < message->head.field_count; i++) {
        const struct lb_field *field = &message->head.fields[i];
        if (!goes_along(message, bytes, field))
            continue;
        put_field(writer, bytes, field);
        count++;
    }
    writer->full |= count > LB_FIELD_ROOM;
    PUT(writer, "\r\n");
}

/* As the client has it: what it asks for is told, and no client can tell it by itself. */
static void write_target(struct writer *writer, const struct lb_message *message, const char *bytes)
{
    if (message->path.length)
        put_span(writer, bytes, message->path);
    else
        PUT(writer, "/");
    put_span(writer, bytes, message->query);
    PUT(writer, "\r\n");
}

static const char told[] = "\x11"
                           "x-original-method"
                           "\x0e"
                           "x-original-uri"
                           "\x12"
                           "x-forwarded-method"
                           "\x0f"
                           "x-forwarded-uri";

static void write_told(struct writer *writer, const struct lb_message *message, const char *bytes)
{
    PUT(writer, "X-Original-Method: ");
    put_span(writer, bytes, message->head.method);
    PUT(writer, "\r\nX-Forwarded-Method: ");
    put_span(writer, bytes, message->head.method);
    PUT(writer, "\r\nX-Original-URI: ");
    write_target(writer, message, bytes);
    PUT(writer, "X-Forwarded-Uri: ");
    write_target(writer, message, bytes);
}

/* --- the cache --------------------------------------------------------------------------------------------------------- */

static struct lb_auth_cache *cache_of(struct lb_l7 *l7)
{
    uint8_t secret[32];
    if (!l7->auth_cache && getrandom(secret, sizeof secret, 0) == sizeof secret)
        l7->auth_cache = lb_auth_cache_open(secret);
    return l7->auth_cache;
}

/* Its own headers alone, and where it is asked: 0, or -1: it has none of them, or they are too long, and it is asked each time. */
static int key_of(struct lb_l7 *l7, const char *bytes, const struct lb_guard_row *guard, struct lb_auth_key *key)
{
    const char *text = l7->routes->text, *name = text + guard->cache_by, *end = name + guard->cache_by_length;
    const struct lb_pool_row *pool = &l7->ctx->shm.pools[guard->request_pool - 1];
    struct lb_auth_question question = {.length = 0};
    int found = 0;
    lb_auth_question_put(&question, &pool->tenant, sizeof pool->tenant);
    lb_auth_question_put(&question, text + guard->target, guard->target_length);
    lb_auth_question_put(&question, text + guard->granted, guard->granted_length);
    lb_auth_question_put(&question, bytes + l7->message.host.at, l7->message.host.length);
    for (; name < end; name += 1 + (uint8_t)*name) {
        const struct lb_message_head *head = &l7->message.head;
        lb_auth_question_put(&question, name, 1 + (size_t)(uint8_t)*name);
        for (uint32_t i = 0; i < head->field_count; i++) {
            const struct lb_field *field = &head->fields[i];
            if (!is_named(field, bytes, name) || !goes_along(&l7->message, bytes, field)) /* nobody is asked about it */
                continue;
            lb_auth_question_put(&question, bytes + field->value.at, field->value.length);
            found = 1;
        }
    }
    if (!found || question.too_long || !cache_of(l7))
        return -1;
    *key = lb_auth_key_of(l7->auth_cache, &question);
    return 0;
}

static int was_granted(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_guard_row *guard, struct lb_auth_key key)
{
    uint32_t length;
    const char *lines = lb_auth_cache_find(l7->auth_cache, key, lb_now_ms(l7->ctx), &length);
    if (!lines)
        return 0;
    grant(l7, exchange, (struct piece){l7->routes->text + guard->granted, guard->granted_length}, (struct piece){lines, length});
    lb_add(&l7->ctx->row->auth_cached, 1);
    return 1;
}

/* --- asking ------------------------------------------------------------------------------------------------------------ */

/* It is counted, and told to who asks why. */
static void note_refusal(struct lb_l7 *l7, uint32_t pool, uint16_t route, uint16_t status)
{
    int failed = status >= 500;
    struct lb_why_refused refused = {l7->ctx->now_us, pool, route, status, failed ? LB_WHY_AUTH_FAILED : LB_WHY_AUTH};
    lb_why_refuse(&l7->ctx->shm, l7->ctx->worker, &refused);
    lb_add(failed ? &l7->ctx->row->auth_failed : &l7->ctx->row->auth_refused, 1);
}

static struct lb_verdict no_answer(uint16_t status)
{
    return lb_verdict_respond(status, "the service that decides on this request gave no answer");
}

/* What could not even be asked. */
static struct lb_verdict not_asked(struct lb_l7 *l7, const struct lb_routed_to *to)
{
    note_refusal(l7, to->pool, to->route, 503);
    return no_answer(503);
}

static void wait_for_it(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_twin *twin, const struct lb_guard_row *guard)
{
    twin->asker = lb_http_index(l7, exchange);
    twin->limit_ms = guard->request_ms;
    twin->granted_length = (uint16_t)guard->granted_length;
    memcpy(twin->granted, l7->routes->text + guard->granted, guard->granted_length);
    twin->exchange->hedging = LB_HEDGE_ASKS;
    exchange->hedging = LB_HEDGE_ASKS;
    exchange->hedge = lb_slab_index(&l7->twins, twin);
    lb_budget_session(&l7->ctx->shm, l7->ctx->worker, twin->exchange->pool, (uint32_t)(l7->ctx->now_us / 1000000));
    lb_add(&l7->ctx->row->auth_requests, 1);
}

struct lb_verdict lb_auth_ask(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, const struct lb_guard_row *guard,
                              const struct lb_routed_to *to)
{
    struct lb_auth_key key = {{0, 0}};
    int kept = guard->cache_ms && key_of(l7, bytes, guard, &key) == 0;
    if (kept && was_granted(l7, exchange, guard, key))
        return lb_verdict(LB_NEXT_WAIT);
    struct writer head = {l7->out, l7->out + LB_HEAD_BYTES, 0};
    write_question(&head, &l7->message, bytes, (struct piece){l7->routes->text + guard->target, guard->target_length});
    char lines[LB_GRANTED_BYTES];
    struct writer more = {lines, lines + sizeof lines, 0};
    write_told(&more, &l7->message, bytes);
    if (head.full || more.full)
        return lb_verdict_respond(LB_READ_HEAD_LARGE, "the headers are too large to be decided on");
    struct lb_twin *twin = lb_twin_with(l7, exchange, guard->request_pool - 1, l7->out, (uint32_t)(head.to - l7->out));
    if (!twin)
        return not_asked(l7, to);
    grant(l7, twin->exchange, (struct piece){told, sizeof told - 1}, (struct piece){lines, (uint32_t)(more.to - lines)});
    if (lb_edits_grant(l7, twin->exchange) < 0) {
        twin->exchange->hedging = LB_HEDGE_OVER;
        return not_asked(l7, to);
    }
    lb_granted_drop(l7, twin->exchange);
    exchange->asked_row = to->row;
    exchange->asked_version = l7->routes_version;
    twin->leads_to = to->pool;
    twin->route = to->route;
    twin->cache_ms = kept ? guard->cache_ms : 0;
    twin->key = key;
    wait_for_it(l7, exchange, twin, guard);
    return lb_verdict(LB_NEXT_ASK);
}

/* --- the answer --------------------------------------------------------------------------------------------------------- */

/* The fields with these names, each line anew. */
static void write_named(struct writer *writer, struct piece names, const struct lb_message_head *head, const char *bytes)
{
    for (const char *name = names.text; name < names.text + names.length; name += 1 + (uint8_t)*name)
        for (uint32_t i = 0; i < head->field_count; i++)
            if (is_named(&head->fields[i], bytes, name))
                put_field(writer, bytes, &head->fields[i]);
}

/* By these a client learns how it may come. */
static const char of_refusals[] = "\x10"
                                  "www-authenticate"
                                  "\x08"
                                  "location"
                                  "\x0a"
                                  "set-cookie"
                                  "\x0b"
                                  "retry-after";

static int leads_elsewhere(uint16_t status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* What becomes of the request that was asked about. */
static struct lb_verdict decide(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_twin *twin, const char *bytes)
{
    const struct piece nothing = {"", 0}, granted = {twin->granted, twin->granted_length};
    const struct piece refusals = {of_refusals, sizeof of_refusals - 1};
    const struct lb_message_head *head = &l7->message.head;
    char lines[LB_GRANTED_BYTES];
    struct writer writer = {lines, lines + sizeof lines, 0};
    int yes = head->status >= 200 && head->status < 300;
    write_named(&writer, yes ? granted : refusals, head, bytes);
    int no = (head->status >= 400 && head->status < 500) ||
             (leads_elsewhere(head->status) && lb_field_find(&l7->message, bytes, "location", 8));
    if (writer.full || !(yes | no))
        return no_answer(503);
    struct piece said = {lines, (uint32_t)(writer.to - lines)};
    grant(l7, exchange, yes ? granted : nothing, said);
    if (yes) {
        if (twin->cache_ms)
            lb_auth_cache_keep(l7->auth_cache, twin->key, lb_now_ms(l7->ctx) + twin->cache_ms, said.text, said.length);
        return lb_verdict(LB_NEXT_GRANTED);
    }
    return lb_verdict_respond(head->status, "the service that decides on this request refuses it");
}

/* The exchange goes on in this turn or the next: not now, in the middle of what was read from another connection. */
void lb_auth_answered(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes)
{
    struct lb_twin *twin = lb_twin_of(exchange->client);
    if (twin->asker == LB_SLAB_NONE || twin->said.next != LB_NEXT_WAIT)
        return;
    twin->said = decide(l7, lb_http_at(l7, twin->asker), twin, bytes);
    lb_twin_ready(l7, twin);
}

struct lb_verdict lb_auth_said(struct lb_l7 *l7, const struct lb_twin *twin)
{
    struct lb_verdict said = twin->said.next == LB_NEXT_WAIT ? no_answer(503) : twin->said; /* it ended without one */
    if (said.next == LB_NEXT_RESPOND)
        note_refusal(l7, twin->leads_to, twin->route, said.status);
    return said;
}

struct lb_verdict lb_auth_late(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    const struct lb_twin *twin = lb_slab_at(&l7->twins, exchange->hedge);
    note_refusal(l7, twin->leads_to, twin->route, 504);
    lb_twin_forget_asker(l7, exchange);
    return no_answer(504);
}
