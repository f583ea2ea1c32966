#include "server.h"

#include <string.h>

#include "../../core/io.h"
#include "../../l4/backend_report.h"
#include "login.h"
#include "../bad_response.h"
#include "../belongs.h"
#include "body.h"
#include "../input.h"
#include "../interim.h"
#include "../part.h"
#include "../response.h"
#include "../stage.h"

enum {
    FIRST_READ = 32768, /* of a response: its head and this much of its body fit into one buffer if the client is slow */
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

/* The response itself: what it says of the connection is heard here, the rest is judged, and passed on, by others. */
static struct lb_verdict final_response(struct lb_l7 *l7, struct lb_exchange *exchange, char *bytes, uint32_t count)
{
    const struct lb_message *message = &l7->message;
    uint32_t here = count - message->head.bytes;
    judge_conn(l7, exchange, bytes);
    exchange->response = (struct lb_body){.framing = message->framing, .left = message->length};
    struct lb_chunk_piece body;
    if (lb_h1_first_of_response(exchange, bytes + message->head.bytes, here, &body) < 0)
        return lb_http_bad_response(l7, exchange, LB_READ_BAD);
    if (body.used < here)
        note_surplus(l7, exchange, message->head.status);
    if (message->keep_alive.length)
        hear_keep_alive(l7, exchange, bytes);
    return lb_http_pass_response(l7, exchange, bytes, &body);
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

static struct lb_verdict read_response(struct lb_l7 *l7, struct lb_exchange *exchange, char *bytes, uint32_t count)
{
    const struct lb_head_limits limits = response_limits(lb_http_pool(l7, exchange));
    while (count) {
        enum lb_reading reading = lb_message_response(&l7->message, bytes, count, &limits, (enum lb_method)exchange->method);
        if (reading == LB_READ_PARTIAL)
            break;
        if (reading != LB_READ_DONE)
            return lb_http_bad_response(l7, exchange, reading);
        if (l7->message.head.status == 101)
            return exchange->stream[LB_CLIENT].ops->switched(l7, exchange, bytes, count);
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

struct lb_verdict lb_h1_await_response(struct lb_l7 *l7, struct lb_exchange *exchange)
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
    struct lb_verdict verdict = read_response(l7, exchange, bytes, (uint32_t)got);
    if (!lb_verdict_decides(verdict))
        lb_http_acknowledge(l7, exchange, (size_t)got, pause_ms);
    return verdict;
}

struct lb_verdict lb_h1_resume_response(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    return read_response(l7, exchange, lb_http_part(l7, exchange), exchange->part_end);
}
