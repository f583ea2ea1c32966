#include "transfer.h"

#include "../core/io.h"
#include "../table/account.h"
#include "../tls/connection.h"
#include "../core/random.h"
#include "../l4/sendq.h"
#include "body.h"
#include "login.h"
#include "belongs.h"
#include "h1_encode.h"
#include "h1_server.h"
#include "input.h"
#include "min_rate.h"
#include "part.h"
#include "request_log.h"
#include "stage.h"

/* --- the request ---------------------------------------------------------------------------------------------------- */

/* Is this the last request on its backend's connection? A backend that is told so closes first, and its end of the connection is the
 * one that rests in TIME_WAIT. Behind HEAD some servers send a body all the same. A login lives on its connection. */
static int is_last_there(const struct lb_l7 *l7, const struct lb_exchange *exchange, const struct lb_conn *conn)
{
    if (exchange->upgrade)
        return 0;
    if (exchange->method == LB_HEAD)
        return 1;
    return !conn->login && (lb_conn_keeps_none(&l7->conns, exchange->backend) || (conn->header && !exchange->persistent));
}

static void fill_forward(struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_forward *forward, struct lb_trace *trace)
{
    *forward = (struct lb_forward){
        .listener = lb_http_listener(l7, exchange),
        .peer = exchange->client->ip,
        .trusted = exchange->client->trusted,
        .trailers = lb_http_pool(l7, exchange)->trailers != 0,
        .last = lb_http_conn(l7, exchange)->told,
        .tls = (uint8_t)lb_http_client_spoke_tls(l7, exchange->client),
        .certificate = exchange->client->side.tls ? exchange->client->side.tls->certificate : NULL,
        .backend = (const char *)l7->ctx->shm.backends[exchange->backend].address,
    };
    if (lb_http_trace(l7, exchange, trace, &forward->trace_begins))
        forward->trace = trace;
    if (forward->listener->request_id) {
        forward->id[0] = lb_random_next(&l7->random);
        forward->id[1] = lb_random_next(&l7->random);
    }
}

/* The id that the request goes out with: ours, or what a trusted proxy gave it. */
static void keep_id(struct lb_l7 *l7, const struct lb_exchange *exchange, const struct lb_forward *forward, const char *bytes)
{
    int stays = !forward->listener->request_id || lb_forward_believes(forward, "x-request-id", 12);
    const struct lb_field *given = stays ? lb_field_find(&l7->message, bytes, "x-request-id", 12) : NULL;
    char id[LB_ID_BYTES];
    if (given)
        lb_http_log_id(l7, exchange, bytes + given->value.at, given->value.length);
    else if (forward->listener->request_id)
        lb_http_log_id(l7, exchange, id, (uint32_t)(lb_encode_id(id, forward->id) - id));
}

struct lb_verdict lb_http_send_request(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_forward forward;
    struct lb_trace trace;
    struct lb_message *message = &l7->message;
    struct lb_conn *conn = lb_http_conn(l7, exchange);
    const char *bytes = lb_input_at(l7, &exchange->in) + exchange->in.start;
    if (lb_login_is_named(message, bytes))
        lb_conn_log_in(conn, &exchange->client->own);
    conn->told = (uint8_t)is_last_there(l7, exchange, conn);
    fill_forward(l7, exchange, &forward, &trace);
    if (exchange->log != LB_SLAB_NONE)
        keep_id(l7, exchange, &forward, bytes);
    message->upgrade = exchange->upgrade;
    size_t head = lb_encode_request(l7->out, message, bytes, &forward);
    uint32_t body = exchange->in.next - exchange->in.start - message->head.bytes;
    exchange->sent_us = (uint32_t)l7->ctx->now_us;
    exchange->reached_us = lb_account_us(exchange->began_us, l7->ctx->now_us);
    if (!lb_sendq_can_hold(l7->ctx, head + body))
        return lb_verdict_respond(503, "the balancer has no buffer left");
    if (lb_sendq_send(l7->ctx, &exchange->up, &conn->side, l7->out, head, bytes + message->head.bytes, body) < 0) {
        if (!exchange->reused)
            return lb_verdict_number(LB_NEXT_FAILED, ECONNRESET); /* it accepted the connection, and then nothing */
        exchange->replayable = 1;                                 /* not a byte of it was accepted */
        return lb_verdict_lost(502, "the backend closed the connection");
    }
    if (!exchange->request.whole)
        lb_http_rate_sender(l7, exchange);
    if (!exchange->replayable)
        lb_input_consume(l7, &exchange->in);
    return lb_verdict(LB_NEXT_AGAIN);
}

/* Send on what is held, as lb_sendq_flush does; a side that takes some of it is slow, not silent. */
static int flush(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_side *to, struct lb_flow *flow)
{
    uint32_t held = flow->pending;
    int flushed = lb_sendq_flush(l7->ctx, flow, to);
    if (flow->pending != held)
        (flow == &exchange->up ? lb_http_asked : lb_http_moved)(l7, exchange);
    return flushed;
}

/* --- the request's body --------------------------------------------------------------------------------------------- */

/* The backend takes no more of the request; its response may be on its way all the same. A socket tells an error once: EPIPE, of a
 * reset that came after the FIN, leaves the response whole. errno: of the write. */
static void backend_is_deaf(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_conn *conn = lb_http_conn(l7, exchange);
    conn->was_reset = errno != EPIPE;
    lb_sendq_drop(l7->ctx, &exchange->up);
    conn->side.failed = 1;
    conn->side.readable = conn->side.hung_up = 1;
    exchange->conn_keeps = exchange->persistent = 0;
}

static struct lb_verdict bad_body(struct lb_l7 *l7, struct lb_exchange *exchange, uint16_t status, const char *why)
{
    lb_add(&l7->ctx->row->requests_bad, 1);
    exchange->persistent = 0;
    if (lb_http_is_answered(exchange))
        return lb_verdict_end(LB_ENDED_CLIENT);
    return lb_verdict_respond(status, why);
}

static struct lb_verdict transfer_request(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_conn *conn = lb_http_conn(l7, exchange);
    if (conn->side.failed)
        return lb_verdict(LB_NEXT_WAIT);
    if (exchange->up.pending) {
        lb_http_excuse(exchange); /* it waits for the backend */
        int flushed = flush(l7, exchange, &conn->side, &exchange->up);
        if (flushed < 0)
            backend_is_deaf(l7, exchange);
        return lb_verdict(flushed ? LB_NEXT_AGAIN : LB_NEXT_WAIT);
    }
    if (exchange->request.whole) {
        lb_sendq_drop(l7->ctx, &exchange->up);
        return lb_verdict(LB_NEXT_WAIT);
    }
    if (lb_h1_of(exchange->client)->unsent || !exchange->client->side.readable || !conn->side.writable)
        return lb_verdict(LB_NEXT_WAIT);
    if (!lb_buffer_pool_ready(&l7->ctx->buffers))
        return lb_verdict(LB_NEXT_STARVED);
    struct lb_body_lane body = lb_body_of_request(l7, exchange);
    switch (exchange->request.framing == LB_BODY_CHUNKED ? lb_body_chunked_request(&body) : lb_body_plain(&body)) {
    case LB_STEP_MOVED:
        return lb_verdict(LB_NEXT_AGAIN);
    case LB_STEP_BLOCKED:
        return lb_verdict(LB_NEXT_WAIT);
    case LB_STEP_STARVED:
        return lb_verdict(LB_NEXT_STARVED);
    case LB_STEP_LATER:
        return lb_verdict(LB_NEXT_LATER);
    case LB_STEP_END:
    case LB_STEP_FROM_FAILED:
        return lb_verdict_end(LB_ENDED_CLIENT);
    case LB_STEP_TO_FAILED:
        backend_is_deaf(l7, exchange);
        return lb_verdict(LB_NEXT_AGAIN);
    case LB_STEP_BAD:
        return bad_body(l7, exchange, 400, "the body breaks the rules of the chunked coding");
    case LB_STEP_TOO_LARGE:
        return bad_body(l7, exchange, 413, "the body is too large");
    }
    return lb_verdict(LB_NEXT_WAIT);
}

/* --- both directions ------------------------------------------------------------------------------------------------ */

static struct lb_verdict transfer_response(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_side *from = &lb_http_conn(l7, exchange)->side;
    int was_pending = exchange->down.pending != 0;
    if (was_pending) {
        int flushed = flush(l7, exchange, &exchange->client->side, &exchange->down);
        if (flushed < 0)
            return lb_verdict_end(LB_ENDED_CLIENT);
        if (!flushed)
            return lb_verdict(LB_NEXT_WAIT);
    }
    if (exchange->switching && from->failed)
        return lb_verdict_lost(502, "the backend closed the connection");
    if (exchange->switching && !lb_http_has_asked_all(exchange))
        return lb_verdict(LB_NEXT_WAIT); /* not before all of the request has gone out (RFC 9110 7.8) */
    if (exchange->switching) {
        exchange->switching = 0;
        return lb_http_read_response(l7, exchange, lb_http_part(l7, exchange), exchange->part_end);
    }
    if (was_pending) {
        if (exchange->stage == LB_RESPONSE_AWAITED && exchange->part_end) /* what came behind an interim response */
            return lb_http_read_response(l7, exchange, lb_http_part(l7, exchange), exchange->part_end);
    }
    if (exchange->stage == LB_RESPONSE_WHOLE)
        return lb_verdict(LB_NEXT_FINISH);
    if (!from->readable && exchange->request.whole)
        lb_http_excuse(exchange); /* it has taken all that there is */
    if (!from->readable || !exchange->client->side.writable)
        return lb_verdict(LB_NEXT_WAIT);
    if (!lb_buffer_pool_ready(&l7->ctx->buffers))
        return lb_verdict(LB_NEXT_STARVED);
    return exchange->stage == LB_RESPONSE_AWAITED ? lb_http_await_response(l7, exchange)
                                                  : lb_http_transfer_response(l7, exchange);
}

struct lb_verdict lb_http_transfer(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_verdict up = transfer_request(l7, exchange);
    if (lb_verdict_decides(up))
        return up;
    struct lb_verdict down = transfer_response(l7, exchange);
    return lb_verdict_decides(down) || down.next == LB_NEXT_AGAIN || up.next == LB_NEXT_WAIT ? down : up;
}
