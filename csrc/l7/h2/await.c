#include "await.h"

#include <string.h>

#include "../attempt.h"
#include "../bad_response.h"
#include "../belongs.h"
#include "../charge.h"
#include "../grpc.h"
#include "../interim.h"
#include "../response.h"
#include "../route.h"
#include "../stage.h"
#include "doubt.h"
#include "download.h"

/* --- no response -------------------------------------------------------------------------------------------------------------- */

/* The backend has not looked at the request: it goes to another one, POST as well (RFC 9113 8.7), as long as the budget allows. After a
 * GOAWAY the same backend may serve it on a new connection; a second time it is passed over. */
static struct lb_verdict elsewhere(struct lb_l7 *l7, struct lb_exchange *exchange, int again)
{
    static const char why[] = "the backend refused the request";
    if (!(exchange->kept || exchange->replayable) || !lb_http_is_silent(exchange))
        return lb_verdict_lost(502, why);
    if (again && !exchange->turned_away) {
        exchange->turned_away = 1;
    } else {
        if (exchange->tried_count == LB_MAX_TRIED)
            return lb_verdict_lost(502, why);
        exchange->tried[exchange->tried_count++] = exchange->backend;
    }
    lb_http_decided(l7, exchange, LB_ENDED_BACKEND);
    lb_add(&l7->ctx->row->calls_refused, 1);
    return (struct lb_verdict){.next = LB_NEXT_ANOTHER, .status = 503, .why = why};
}

/* HTTP_1_1_REQUIRED (RFC 9113 7), as of servers whose logins live on a connection: 1, where the pool leaves the choice. */
static int goes_by_http1(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_h2_call *call)
{
    if (call->error != LB_H2_HTTP_1_1_REQUIRED || exchange->grpc || lb_http_pool(l7, exchange)->protocol != LB_BACKEND_AUTO)
        return 0;
    exchange->only_http1 = 1;
    return (exchange->kept || exchange->replayable) && lb_http_is_silent(exchange);
}

/* It went out before the backend had said how many it takes. */
static int was_one_too_many(const struct lb_h2_call *call)
{
    return call->error == LB_H2_REFUSED_STREAM && call->id <= call->server->blind;
}

/* By the same backend, too, although its connection was a fresh one. */
static struct lb_verdict once_more(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (!exchange->turned_away && exchange->tried_count && exchange->tried[exchange->tried_count - 1] == exchange->backend)
        exchange->tried_count--;
    return elsewhere(l7, exchange, 1);
}

/* RFC 9113 7. NO_ERROR instead of a response is a refusal: hypercorn 0.18.0 stops so. */
static struct lb_verdict was_reset(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_h2_call *call)
{
    if (call->error == LB_H2_REFUSED_STREAM || call->error == LB_H2_NO_ERROR)
        return was_one_too_many(call) ? once_more(l7, exchange) : elsewhere(l7, exchange, call->server->warned);
    if (goes_by_http1(l7, exchange, call)) {
        lb_http_decided(l7, exchange, LB_ENDED_BACKEND);
        return lb_http_attempt_anew(l7, exchange);
    }
    lb_add(&l7->ctx->row->calls_reset, 1);
    exchange->reused = exchange->kept = 0; /* not the race of an old connection; and it was looked at */
    return lb_verdict_lost(502, "the backend reset the request");
}

static struct lb_verdict no_head(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_h2_call *call)
{
    if (call->bad)
        return lb_http_bad_response(l7, exchange, call->bad == 2 ? LB_READ_HEAD_LARGE : LB_READ_BAD);
    if (call->refused)
        return elsewhere(l7, exchange, 1);
    if (call->reset)
        return was_reset(l7, exchange, call);
    if (call->server->state != LB_H2_SERVER_OPEN)
        return lb_verdict_lost(502, "the backend closed the connection before it answered");
    return lb_verdict(LB_NEXT_WAIT);
}

/* --- its head ----------------------------------------------------------------------------------------------------------------- */

static enum lb_h2_response_body framing_of(const struct lb_exchange *exchange, const struct lb_h2_call *call)
{
    uint16_t status = call->says.status;
    if (call->says.has_length || exchange->method == LB_HEAD || (call->connects && status < 300) || status < 200 ||
        status == 204 || status == 304)
        return LB_H2_RESPONSE_AS_IT_SAYS;
    return call->ended && !call->in.pending && call->trailers == LB_SLAB_NONE ? LB_H2_RESPONSE_EMPTY : LB_H2_RESPONSE_CHUNKED;
}

static void drop_head(struct lb_l7 *l7, struct lb_h2_call *call)
{
    lb_heads_give(l7->ctx, &l7->heads, call->head);
    call->head = LB_SLAB_NONE;
}

/* Of clients of gRPC, grpcio 1.85.1 takes it for the response, and grpclib 0.4.9 loses the connection. */
static struct lb_verdict interim(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_h2_call *call, const char *bytes)
{
    int failed = exchange->grpc ? 0 : lb_http_pass_interim(l7, exchange, bytes) < 0;
    drop_head(l7, call);
    return failed ? lb_verdict_end(LB_ENDED_CLIENT) : lb_verdict(LB_NEXT_AGAIN);
}

/* A call that came to grpcio 1.85.1 while it stops is answered so, and was not looked at. */
static int looks_late(const struct lb_exchange *exchange, const struct lb_h2_call *call, uint8_t status)
{
    return exchange->grpc && call->ended && status == LB_GRPC_CANCELLED && lb_http_is_silent(exchange);
}

/* Its connection has said that it goes, or is gone. */
static int is_late(const struct lb_h2_call *call)
{
    return call->server->warned || call->server->state != LB_H2_SERVER_OPEN;
}

static int has_words(const struct lb_message *message, const char *bytes, const char *words, uint32_t length)
{
    const struct lb_field *field = lb_field_find(message, bytes, "grpc-message", 12);
    return field && field->value.length == length && memcmp(bytes + field->value.at, words, length) == 0;
}

/* GOAWAY may come behind it: only what grpcio itself says waits for that, not what an application says in its own words. */
static int may_be_late(const struct lb_message *message, const char *bytes, const struct lb_h2_call *call)
{
    return call->said_end && has_words(message, bytes, "CANCELLED", 9);
}

/* What grpcio 1.85.1 says of all that is left when it has stopped: nearly always calls that it never began, but it may have begun them. */
static int was_swept_away(const struct lb_l7 *l7, const struct lb_exchange *exchange, const struct lb_h2_call *call,
                          const char *bytes, uint8_t status)
{
    return exchange->grpc && call->ended && status == LB_GRPC_UNAVAILABLE && lb_http_is_silent(exchange) &&
           lb_http_pool(l7, exchange)->repeats_lost_calls && has_words(&l7->message, bytes, "Cancelling all calls", 20);
}

/* What has come of the body goes with the head. */
static struct lb_verdict pass(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes)
{
    struct lb_body_lane lane = lb_body_of_response(l7, exchange);
    struct lb_chunk_piece piece = {.out = l7->ctx->scratch};
    exchange->response = (struct lb_body){.framing = l7->message.framing, .left = l7->message.length};
    if (l7->message.framing == LB_BODY_NONE) {
        exchange->response.whole = 1;
    } else {
        enum lb_step step = lb_h2_download(&lane, piece.out, LB_SCRATCH_BYTES, &piece);
        if (step != LB_STEP_MOVED && step != LB_STEP_BLOCKED)
            return lb_http_bad_response(l7, exchange, LB_READ_BAD);
        lb_body_arrived(&lane, piece.data);
    }
    return lb_http_pass_response(l7, exchange, bytes, &piece);
}

/* To be told a client of gRPC-Web, unless it is no response of gRPC: 0, or -1, there is no room. */
static int translate(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_h2_call *call)
{
    char *base = lb_heads_at(l7->ctx, &l7->heads, call->head);
    if (!exchange->grpc_web || call->says.status < 200)
        return 0;
    int translated = lb_h2_response_translate(base, &call->says, lb_heads_room(call->head), exchange->grpc_web);
    if (!translated)
        exchange->grpc_web = 0;
    return translated < 0 ? -1 : 0;
}

struct lb_verdict lb_h2_await_response(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_h2_call *call = lb_h2_call_of(exchange);
    const struct lb_pool_row *pool = lb_http_pool(l7, exchange);
    uint32_t most = pool->max_response_header_bytes, fields = pool->max_response_headers, count;
    const struct lb_head_limits limits = {most ? most : LB_MOST_HEAD, LB_MOST_HEAD, fields ? fields : LB_FIELD_ROOM};
    if (call->head == LB_SLAB_NONE || call->bad)
        return no_head(l7, exchange, call);
    if (translate(l7, exchange, call) < 0)
        return lb_http_bad_response(l7, exchange, LB_READ_HEAD_LARGE);
    const char *bytes =
        lb_h2_response_compose(lb_heads_at(l7->ctx, &l7->heads, call->head), &call->says, framing_of(exchange, call), &count);
    enum lb_reading reading = lb_message_response(&l7->message, bytes, count, &limits, (enum lb_method)exchange->method);
    if (reading != LB_READ_DONE)
        return lb_http_bad_response(l7, exchange, reading == LB_READ_PARTIAL ? LB_READ_BAD : reading);
    lb_http_moved(l7, exchange);
    if (call->says.status < 200)
        return interim(l7, exchange, call, bytes);
    if (call->connects && call->says.status < 300) { /* RFC 8441 5: this is what 101 is in HTTP/1.1 */
        struct lb_verdict switched = exchange->stream[LB_CLIENT].ops->switched(l7, exchange, bytes, count);
        drop_head(l7, call);
        return switched;
    }
    uint8_t status = exchange->grpc ? lb_grpc_status_in_head(&l7->message, bytes) : (uint8_t)LB_GRPC_NONE;
    if (was_swept_away(l7, exchange, call, bytes, status))
        return elsewhere(l7, exchange, 1);
    if (looks_late(exchange, call, status)) {
        if (is_late(call))
            return elsewhere(l7, exchange, 1);
        if (may_be_late(&l7->message, bytes, call) && lb_h2_doubt(l7, call))
            return lb_verdict(LB_NEXT_WAIT);
    }
    lb_add(&l7->ctx->row->bytes_out, count);
    exchange->bytes_out += count;
    exchange->grpc_status = status;
    struct lb_verdict verdict = pass(l7, exchange, bytes);
    if (exchange->response.whole)
        lb_http_judge_call(l7, exchange);
    drop_head(l7, call);
    return verdict;
}
