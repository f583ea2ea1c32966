#include "h1_server.h"

#include <string.h>

#include "../core/io.h"
#include "../l4/ack.h"
#include "../l4/backend_report.h"
#include "../l4/sendq.h"
#include "../table/account.h"
#include "../table/timing.h"
#include "body.h"
#include "login.h"
#include "bad_response.h"
#include "belongs.h"
#include "bound.h"
#include "charge.h"
#include "input.h"
#include "interim.h"
#include "part.h"
#include "stage.h"
#include "stopping.h"
#include "unsent.h"
#include "upgrade.h"

enum {
    FIRST_READ = 32768, /* of a response: its head and this much of its body fit into one buffer if the client is slow */
    SMALL_BODY = 2048,  /* is copied behind its head rather than sent as a second part */
};

/* --- the response's head ---------------------------------------------------------------------------------------------- */

/* Keep-Alive: timeout=N, seconds (RFC 2068 19.7.1.1): how long the backend says that it keeps an idle connection. */
static void hear_keep_alive(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes)
{
    uint32_t at = 0, seconds = 0;
    for (;;) {
        struct lb_span word = lb_list_next(bytes, l7->message.keep_alive, &at);
        if (!word.length)
            return;
        if (word.length < 9 || word.length > 14 || !lb_same_word(bytes + word.at, 8, "timeout=", 8))
            continue;
        for (uint32_t i = 8; i < word.length && bytes[word.at + i] >= '0' && bytes[word.at + i] <= '9'; i++)
            seconds = seconds * 10 + (uint32_t)(bytes[word.at + i] - '0');
        lb_report_of(l7->ctx, exchange->backend)->keeps_ms = seconds * 1000;
        return;
    }
}

static void judge_response(struct lb_l7 *l7, struct lb_exchange *exchange, uint16_t status)
{
    struct lb_worker_row *row = l7->ctx->row;
    uint32_t took_us = (uint32_t)l7->ctx->now_us - exchange->sent_us;
    uint64_t *classes[] = {&row->responses_2xx, &row->responses_3xx, &row->responses_4xx, &row->responses_5xx};
    exchange->status = status;
    exchange->first_us = lb_account_us(exchange->began_us, l7->ctx->now_us);
    lb_timing_note(&l7->ctx->shm, l7->ctx->worker, exchange->pool, LB_TIMING_RESPONSE, l7->ctx->now_us - exchange->began_us);
    lb_add(classes[status < 600 ? status / 100 - 2 : 3], 1); /* what is unknown is as x00, from 600 on as 500 (RFC 9110 15) */
    int speaks_of_request = status < 500 || status >= 600 || status == 501 || status == 505; /* unless the pool says so */
    if (!speaks_of_request || lb_is_failed_status(lb_http_pool(l7, exchange), status))
        lb_report_failed(l7->ctx, exchange->pool, exchange->backend, status);
    else
        lb_report_responded(l7->ctx, exchange->backend, took_us);
}

/* The first of a chunked body, framed anew where it lies, for a client that knows chunks; else only its data. */
static int first_chunks(const struct lb_exchange *exchange, struct lb_body *body, char *bytes, uint32_t count,
                        struct lb_chunk_piece *piece)
{
    body->chunked.rules = LB_CHUNKS_LENIENT | (exchange->minor ? LB_CHUNKS_TRAILERS : LB_CHUNKS_BARE);
    enum lb_chunking chunking = lb_chunked_read(&body->chunked, bytes, count, piece);
    body->left = piece->used;
    body->whole = chunking == LB_CHUNKS_DONE;
    return chunking == LB_CHUNKS_BAD ? -1 : 0;
}

/* What has come of the body with the head, and what goes out of that: 0, or -1. */
static int first_of_body(struct lb_exchange *exchange, char *bytes, uint32_t count, struct lb_chunk_piece *piece)
{
    struct lb_body *body = &exchange->response;
    *piece = (struct lb_chunk_piece){.out = bytes};
    switch ((enum lb_framing)body->framing) {
    case LB_BODY_NONE:
        body->whole = 1;
        break;
    case LB_BODY_LENGTH:
        piece->used = count < body->left ? count : (uint32_t)body->left;
        piece->out_count = piece->used;
        lb_body_took(body, piece->used);
        break;
    case LB_BODY_TO_END:
        piece->out_count = piece->used = count;
        break;
    case LB_BODY_CHUNKED:
        if (first_chunks(exchange, body, bytes, count, piece) < 0)
            return -1;
        break;
    }
    return 0;
}

/* A response that has no body, by the rules: several servers send one all the same, some of them later. */
static int has_no_body_by_rule(const struct lb_exchange *exchange, uint16_t status)
{
    return exchange->method == LB_HEAD || status == 204 || status == 205 || status == 304;
}

/* More has come than a response: whoever came next on this connection would take it for its own. */
static void note_surplus(struct lb_l7 *l7, struct lb_exchange *exchange, uint16_t status)
{
    exchange->conn_keeps = 0;
    lb_add(&l7->ctx->row->connections_unsolicited, 1);
    if (!has_no_body_by_rule(exchange, status))
        lb_conn_distrust(&l7->conns, exchange->backend);
}

/* Does the backend's connection go on? Never where bytes of this exchange may still be on their way: behind a response without a
 * body, behind one that came before its request was whole, or instead of the protocol that was asked for. A client's login is worth the
 * risk of a 204 or 304, since what might follow is that client's own, unless the backend has sent bytes unasked lately. */
static int conn_goes_on(const struct lb_l7 *l7, const struct lb_exchange *exchange, const struct lb_conn *conn,
                        const struct lb_message *message)
{
    if (conn->told || !exchange->request.whole || exchange->up.pending || exchange->upgrade)
        return 0;
    return !has_no_body_by_rule(exchange, message->head.status) ||
           (conn->login && exchange->method != LB_HEAD && !lb_conn_is_distrusted(&l7->conns, exchange->backend));
}

/* What a response says of its connection. */
static void judge_conn(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes)
{
    struct lb_conn *conn = lb_http_conn(l7, exchange);
    const struct lb_message *message = &l7->message;
    if (lb_login_is_named(message, bytes))
        lb_conn_log_in(conn, &exchange->client->own);
    conn->shaken = message->head.status >= 500;
    conn->told |= !message->persistent;
    exchange->conn_keeps = exchange->conn_keeps && conn_goes_on(l7, exchange, conn, message);
}

static struct lb_verdict final_response(struct lb_l7 *l7, struct lb_exchange *exchange, char *bytes, uint32_t count)
{
    struct lb_message *message = &l7->message;
    char cookie[LB_COOKIE_BYTES];
    judge_conn(l7, exchange, bytes);
    exchange->response = (struct lb_body){.framing = message->framing, .left = message->length};
    struct lb_chunk_piece body;
    if (first_of_body(exchange, bytes + message->head.bytes, count - message->head.bytes, &body) < 0)
        return lb_http_bad_response(l7, exchange, LB_READ_BAD);
    if (body.used < count - message->head.bytes)
        note_surplus(l7, exchange, message->head.status);
    int to_end = message->framing == LB_BODY_TO_END || (message->framing == LB_BODY_CHUNKED && !exchange->minor);
    if (message->head.status == 417 && lb_http_may_repeat(exchange))
        lb_http_keep_unsent(exchange);
    exchange->persistent = exchange->persistent && (exchange->request.whole || lb_h1_of(exchange->client)->unsent) && !to_end &&
                           !lb_http_client_must_close(l7, exchange->client);
    if (!lb_sendq_can_hold(l7->ctx, message->head.bytes + LB_ENCODE_ROOM + body.out_count))
        return lb_http_no_buffer(l7, exchange);
    struct lb_response_edits edits = {
        .client_minor = exchange->minor,
        .persistent = exchange->persistent,
        .keeps_s = lb_http_listener(l7, exchange)->keepalive_timeout_ms / 1000,
        .chunked = message->framing == LB_BODY_CHUNKED && exchange->minor,
        .date = lb_message_has(message, LB_DATE) ? "" : lb_date_text(&l7->date),
        .cookie = exchange->sticky_new ? cookie : NULL,
    };
    if (exchange->sticky_new)
        lb_http_sticky_cookie(l7, exchange, cookie);
    if (l7->message.keep_alive.length)
        hear_keep_alive(l7, exchange, bytes);
    judge_response(l7, exchange, message->head.status);
    lb_http_note_habit(l7, exchange, message->head.status, !message->persistent);
    exchange->stage = exchange->response.whole ? LB_RESPONSE_WHOLE : LB_RESPONSE_BODY;
    size_t head = lb_encode_response(l7->out, message, bytes, &edits), apart = body.out_count;
    if (apart <= SMALL_BODY) { /* one short copy is cheaper than a second part */
        memcpy(l7->out + head, body.out, apart);
        head += apart;
        apart = 0;
    }
    int sent = lb_http_is_last(exchange)
                 ? lb_sendq_send_last(l7->ctx, &exchange->down, &exchange->client->side, l7->out, head, body.out, apart)
                 : lb_sendq_send(l7->ctx, &exchange->down, &exchange->client->side, l7->out, head, body.out, apart);
    lb_http_drop_part(l7, exchange);
    if (exchange->replayable)
        lb_input_consume(l7, &exchange->in);
    exchange->replayable = 0;
    return sent < 0 ? lb_verdict_end(LB_ENDED_CLIENT) : lb_verdict(LB_NEXT_AGAIN);
}

/* 408 to a request that is whole, on a connection that had been idle: the backend's goodbye, which met our request on the way (RFC 9110
 * 15.5.9). */
static int is_goodbye(const struct lb_exchange *exchange, const struct lb_message *message)
{
    return message->head.status == 408 && exchange->reused && exchange->replayable && !message->persistent &&
           lb_http_is_silent(exchange);
}

/* Of a pool that is gone, whatever there is room for. */
static struct lb_head_limits response_limits(const struct lb_pool_row *pool)
{
    uint32_t bytes = pool->max_response_header_bytes, fields = pool->max_response_headers;
    return (struct lb_head_limits){bytes ? bytes : LB_MOST_HEAD, LB_MOST_HEAD, fields ? fields : LB_FIELD_ROOM};
}

struct lb_verdict lb_http_read_response(struct lb_l7 *l7, struct lb_exchange *exchange, char *bytes, uint32_t count)
{
    const struct lb_head_limits limits = response_limits(lb_http_pool(l7, exchange));
    while (count) {
        enum lb_reading reading = lb_message_response(&l7->message, bytes, count, &limits, (enum lb_method)exchange->method);
        if (reading == LB_READ_PARTIAL)
            break;
        if (reading != LB_READ_DONE)
            return lb_http_bad_response(l7, exchange, reading);
        if (l7->message.head.status == 101)
            return lb_http_switch_protocols(l7, exchange, bytes, count);
        if (is_goodbye(exchange, &l7->message))
            return lb_verdict_lost(502, "the backend closed the connection before it answered");
        if (l7->message.head.status >= 200)
            return final_response(l7, exchange, bytes, count);
        if (lb_http_pass_interim(l7, exchange, bytes) < 0)
            return lb_verdict_end(LB_ENDED_CLIENT);
        bytes += l7->message.head.bytes;
        count -= l7->message.head.bytes;
        if (exchange->down.pending)
            break; /* read on when the client has taken it */
    }
    if (count)
        lb_http_keep_part(l7, exchange, bytes, count);
    else
        lb_http_drop_part(l7, exchange);
    return lb_verdict(LB_NEXT_AGAIN);
}

/* Small parts of a response that is not whole may wait for our acknowledgement. */
static void acknowledge(struct lb_l7 *l7, struct lb_exchange *exchange, size_t bytes, uint32_t pause_ms)
{
    struct lb_worker_context *ctx = l7->ctx;
    if (exchange->conn == LB_SLAB_NONE || exchange->stage == LB_RESPONSE_WHOLE)
        return;
    struct lb_backend_health *health = lb_report_of(ctx, exchange->backend);
    lb_lane_acknowledge(ctx, &lb_http_conn(l7, exchange)->side, health, bytes, !exchange->parts, &exchange->acked, pause_ms);
    exchange->parts = 1;
}

/* A further part that makes the response whole says whether the acknowledgement before helped. */
static void last_part(struct lb_l7 *l7, struct lb_exchange *exchange, uint32_t pause_ms)
{
    if (exchange->parts && exchange->stage == LB_RESPONSE_WHOLE && exchange->backend != LB_NONE)
        (void)lb_ack_part(lb_report_of(l7->ctx, exchange->backend), 0, (enum lb_ack)exchange->acked, pause_ms);
}

struct lb_verdict lb_http_await_response(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_side *from = &lb_http_conn(l7, exchange)->side;
    char *bytes = l7->ctx->scratch;
    size_t room = FIRST_READ;
    if (exchange->part != LB_SLAB_NONE) {
        if (exchange->part_end == lb_heads_room(exchange->part) &&
            lb_heads_grow(l7->ctx, &l7->heads, &exchange->part, exchange->part_end) < 0)
            return lb_http_no_buffer(l7, exchange);
        bytes = lb_http_part(l7, exchange) + exchange->part_end;
        room = lb_heads_room(exchange->part) - exchange->part_end;
    }
    ssize_t got = lb_side_recv(from, bytes, room);
    if (got < 0 && errno == EBUSY)
        return lb_verdict(LB_NEXT_LATER);
    if (got < 0 && errno == EAGAIN) {
        from->readable = 0;
        return lb_verdict(LB_NEXT_WAIT);
    }
    if (got <= 0)
        return lb_verdict_lost(502, "the backend closed the connection before it answered");
    uint32_t pause_ms = (uint32_t)lb_now_ms(l7->ctx) - exchange->since_ms;
    lb_side_got(from, (size_t)got, room);
    lb_add(&l7->ctx->row->bytes_out, (uint64_t)got);
    exchange->bytes_out += (uint64_t)got;
    lb_http_moved(l7, exchange);
    if (exchange->part != LB_SLAB_NONE) {
        exchange->part_end += (uint32_t)got;
        bytes = lb_http_part(l7, exchange);
        got = exchange->part_end;
    }
    struct lb_verdict verdict = lb_http_read_response(l7, exchange, bytes, (uint32_t)got);
    if (!lb_verdict_decides(verdict))
        acknowledge(l7, exchange, (size_t)got, pause_ms);
    return verdict;
}

/* --- the response's body ---------------------------------------------------------------------------------------------- */

static struct lb_verdict response_broke(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    lb_http_decided(l7, exchange, LB_ENDED_BACKEND);
    lb_report_failed(l7->ctx, exchange->pool, exchange->backend, 0);
    return lb_verdict_end(LB_ENDED_BACKEND);
}

struct lb_verdict lb_http_transfer_response(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_side *from = &lb_http_conn(l7, exchange)->side;
    struct lb_body_lane body = lb_body_of_response(l7, exchange);
    uint32_t pause_ms = (uint32_t)lb_now_ms(l7->ctx) - exchange->since_ms;
    uint64_t before = l7->ctx->row->bytes_out;
    switch (exchange->response.framing == LB_BODY_CHUNKED ? lb_body_chunked_response(&body) : lb_body_plain(&body)) {
    case LB_STEP_MOVED:
        if (exchange->response.whole)
            exchange->stage = LB_RESPONSE_WHOLE;
        acknowledge(l7, exchange, l7->ctx->row->bytes_out - before, pause_ms);
        last_part(l7, exchange, pause_ms);
        return lb_verdict(LB_NEXT_AGAIN);
    case LB_STEP_BLOCKED:
        return lb_verdict(LB_NEXT_WAIT);
    case LB_STEP_STARVED:
        return lb_verdict(LB_NEXT_STARVED);
    case LB_STEP_LATER:
        return lb_verdict(LB_NEXT_LATER);
    case LB_STEP_END:
        if (exchange->response.framing != LB_BODY_TO_END || lb_side_is_cut(from) ||
            lb_http_conn(l7, exchange)->was_reset) /* RFC 9112 9.8 */
            return response_broke(l7, exchange);
        exchange->stage = LB_RESPONSE_WHOLE;
        return lb_verdict(LB_NEXT_AGAIN);
    case LB_STEP_BAD:
        lb_add(&l7->ctx->row->responses_bad, 1);
        return response_broke(l7, exchange);
    case LB_STEP_FROM_FAILED:
    case LB_STEP_TOO_LARGE:
        return response_broke(l7, exchange);
    case LB_STEP_TO_FAILED:
        return lb_verdict_end(LB_ENDED_CLIENT);
    }
    return lb_verdict(LB_NEXT_WAIT);
}
