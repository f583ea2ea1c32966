#include "server_stream.h"

#include <string.h>

#include "../belongs.h"
#include "../base64.h"
#include "../forward.h"
#include "../grpc_web.h"
#include "../h1/encode.h"
#include "../kept.h"
#include "await.h"
#include "download.h"
#include "encode.h"
#include "server_request.h"

enum { BYTES_EARNED = 8192 }; /* a call earns its connection so many of cheap frames: grpcio 1.85.1 sends several with each */

static struct lb_h2_link *link_of(const struct lb_h2_call *call)
{
    return &call->server->link;
}

/* Has it come to an end before its response did? */
static int is_over(const struct lb_h2_call *call)
{
    return call->bad || call->reset || call->refused || call->server->state != LB_H2_SERVER_OPEN;
}

static unsigned ready(const struct lb_exchange *exchange)
{
    struct lb_h2_call *call = lb_h2_call_of(exchange);
    if (!call)
        return 0;
    int over = is_over(call);
    int reads = over || call->head != LB_SLAB_NONE || call->in.pending || call->ended;
    if (!over && !lb_h2_link_takes(link_of(call)))
        call->server->full = 1;
    int sends = over || (lb_h2_link_takes(link_of(call)) && call->window.left > 0 && link_of(call)->window.left > 0);
    return (reads ? LB_CAN_READ : 0) | (sends ? LB_CAN_SEND : 0);
}

/* --- the request's body ------------------------------------------------------------------------------------------------------- */

/* Is what is being sent the end of the request? One with a length ends with its last byte. */
static int is_last(const struct lb_exchange *exchange)
{
    const struct lb_body *body = &exchange->request;
    return body->whole || (body->framing == LB_BODY_LENGTH && !body->left);
}

/* As HEADERS, which end the stream (RFC 9113 8.1): 0, or -1, there is no room now. */
static int send_trailers(struct lb_l7 *l7, struct lb_h2_call *call)
{
    struct lb_h2_link *link = link_of(call);
    uint8_t *begin = lb_h2_link_takes(link) ? lb_h2_link_block(l7->ctx, link, lb_h2_trailers_bytes(call->last_count)) : NULL;
    if (!begin)
        return -1;
    const char *lines = lb_heads_at(l7->ctx, &l7->heads, call->last);
    uint8_t *end = lb_h2_encode_trailers(begin, &link->fields_out, lines, call->last_count, l7->out);
    lb_h2_link_block_done(link, end, call->id, 1);
    return 0;
}

int lb_h2_call_end(struct lb_l7 *l7, struct lb_h2_call *call)
{
    return call->last != LB_SLAB_NONE ? send_trailers(l7, call) : lb_h2_link_end_stream(l7->ctx, link_of(call), call->id);
}

static void say_end(struct lb_l7 *l7, struct lb_h2_call *call)
{
    if (call->said_end)
        return;
    call->owes_end = lb_h2_call_end(l7, call) < 0;
    call->said_end = !call->owes_end;
    call->server->full |= call->owes_end;
    lb_h2_server_touch(l7, call->server);
}

/* How much of it went out. */
static uint32_t send_some(struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_h2_call *call, const char *bytes,
                          uint32_t count)
{
    struct lb_h2_server *server = call->server;
    int last = is_last(exchange) && call->last == LB_SLAB_NONE;
    uint32_t sent = lb_h2_link_data(l7->ctx, &server->link, &server->side, &call->window, call->id, bytes, count, last);
    if (sent < count && (call->window.left <= 0 || server->link.window.left <= 0))
        lb_add(&l7->ctx->row->calls_stalls, 1);
    call->said_end |= last && sent == count && count;
    server->full |= !lb_h2_link_takes(&server->link);
    lb_h2_server_touch(l7, server);
    return sent;
}

static enum lb_step send_or_hold(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, size_t count)
{
    struct lb_h2_call *call = lb_h2_call_of(exchange);
    uint32_t sent = count ? send_some(l7, exchange, call, bytes, (uint32_t)count) : 0;
    if (link_of(call)->failed)
        return LB_STEP_TO_FAILED;
    if (sent == count) {
        if (is_last(exchange))
            say_end(l7, call);
        return LB_STEP_MOVED;
    }
    if (!lb_sendq_can_hold(l7->ctx, count - sent))
        return LB_STEP_TO_FAILED;
    lb_sendq_preload(l7->ctx, &exchange->up, bytes + sent, (uint32_t)(count - sent));
    return LB_STEP_BLOCKED;
}

/* Lines of trailers, of which there are LB_TRAILER_BYTES at most: they go out when the data has. */
static void keep_trailers(struct lb_l7 *l7, struct lb_h2_call *call, const char *lines, uint32_t count)
{
    if (call->last == LB_SLAB_NONE)
        call->last = lb_heads_take(&l7->heads);
    memcpy(lb_heads_at(l7->ctx, &l7->heads, call->last) + call->last_count, lines, count);
    call->last_count += count;
}

/* Of a body that is text, what it means. */
static enum lb_step decode(const struct lb_exchange *exchange, struct lb_h2_call *call, struct lb_chunk_piece *piece)
{
    if (!(exchange->grpc_web & LB_WEB_TEXT_ASKED))
        return LB_STEP_MOVED;
    int64_t count = lb_base64_read(&call->text, piece->out, piece->out_count);
    if (count < 0 || (is_last(exchange) && call->text.place))
        return LB_STEP_BAD;
    piece->out_count = (uint32_t)count;
    return LB_STEP_MOVED;
}

/* What goes on of it: of chunks, the data; it lies where they lay. */
static enum lb_step unwrap(struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_h2_call *call, char *bytes,
                           uint32_t count, struct lb_chunk_piece *piece)
{
    *piece = (struct lb_chunk_piece){.out = bytes, .out_count = count};
    if (exchange->request.framing == LB_BODY_CHUNKED && lb_chunked_read(&call->chunked, bytes, count, piece) == LB_CHUNKS_BAD)
        return LB_STEP_TO_FAILED; /* we have framed it ourselves */
    if (piece->trailers)
        keep_trailers(l7, call, piece->out + piece->out_count, piece->trailers);
    return decode(exchange, call, piece);
}

static enum lb_step data(struct lb_body_lane *body, const char *bytes, size_t count)
{
    struct lb_h2_call *call = lb_h2_call_of(body->exchange);
    struct lb_chunk_piece piece;
    if (is_over(call))
        return LB_STEP_TO_FAILED;
    lb_http_keep_copy(body->l7, body->exchange, bytes, count);
    enum lb_step step = unwrap(body->l7, body->exchange, call, (char *)(uintptr_t)bytes, (uint32_t)count, &piece);
    return step == LB_STEP_MOVED ? send_or_hold(body->l7, body->exchange, piece.out, piece.out_count) : step;
}

static int flush(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_h2_call *call = lb_h2_call_of(exchange);
    struct lb_flow *up = &exchange->up;
    if (!up->pending)
        return 1;
    if (is_over(call))
        return -1;
    lb_sendq_used(l7->ctx, up, send_some(l7, exchange, call, lb_sendq_bytes(l7->ctx, up), up->pending));
    if (link_of(call)->failed)
        return -1;
    if (up->pending)
        return 0;
    if (is_last(exchange))
        say_end(l7, call);
    return 1;
}

/* --- the request's head ------------------------------------------------------------------------------------------------------- */

/* RFC 9113 5.1.1: each stream's number is higher than all before. */
static void open_stream(struct lb_h2_call *call)
{
    struct lb_h2_link *link = link_of(call);
    link->last_out = link->last_out ? link->last_out + 2 : 1;
    lb_h2_call_number(call, link->last_out);
    call->window.left = (int32_t)link->peer.window;
}

static enum lb_step send_head(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_head_out *out)
{
    struct lb_h2_call *call = lb_h2_call_of(exchange);
    struct lb_h2_link *link = link_of(call);
    struct lb_chunk_piece body = {.out = l7->out + LB_CHUNK_ROOM, .out_count = 0};
    if (is_over(call) || call->server->going)
        return LB_STEP_TO_FAILED;
    out->forward->last = 0;
    l7->message.upgrade = 0;
    call->connects = lb_h2_asks_for_tunnel(exchange) && link->peer.connect;
    uint32_t count = (uint32_t)lb_encode_request(l7->out, &l7->message, out->bytes, out->forward);
    struct lb_h2_request_out request = {l7->out,
                                        count,
                                        call->server->side.tls != NULL,
                                        exchange->grpc || l7->message.takes_trailers,
                                        exchange->grpc_web,
                                        call->connects ? out->bytes + l7->message.upgrade_to.at : NULL,
                                        l7->message.upgrade_to.length};
    uint8_t *begin = lb_h2_link_block(l7->ctx, link, lb_h2_request_bytes(&request));
    if (!begin)
        return LB_STEP_STARVED;
    uint8_t *end = lb_h2_encode_request(begin, &link->fields_out, &request);
    open_stream(call);
    enum lb_step step = LB_STEP_MOVED;
    if (out->body_count) {
        memcpy(body.out, out->body, out->body_count);
        step = unwrap(l7, exchange, call, body.out, (uint32_t)out->body_count, &body);
        if (step != LB_STEP_MOVED)
            body.out_count = 0;
    }
    call->said_end =
        step == LB_STEP_MOVED && !call->connects && is_last(exchange) && !body.out_count && call->last == LB_SLAB_NONE;
    lb_h2_link_block_done(link, end, call->id, call->said_end);
    lb_h2_server_touch(l7, call->server);
    if (step != LB_STEP_MOVED || call->said_end || call->connects)
        return step;
    return send_or_hold(l7, exchange, body.out, body.out_count) == LB_STEP_TO_FAILED ? LB_STEP_TO_FAILED : LB_STEP_MOVED;
}

/* --- its end ------------------------------------------------------------------------------------------------------------------ */

static void leave(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_conn *conn, enum lb_conn_end how)
{
    struct lb_h2_call *call = lb_h2_call_of(exchange);
    struct lb_h2_server *server = call->server;
    (void)conn, (void)how;
    exchange->stream[LB_BACKEND].own = NULL;
    if (call->id && server->state == LB_H2_SERVER_OPEN) {
        int whole = call->ended && call->said_end;
        if (!whole && !call->reset && !call->refused && call->bad == 0) {
            lb_h2_link_reset(l7->ctx, &server->link, call->id, LB_H2_CANCEL);
            lb_h2_count_reset(l7->ctx->row, LB_RESETS_OF_BACKEND, LB_H2_CANCEL);
        }
        lb_h2_budget_earn(&server->link.budget, BYTES_EARNED);
        server->carried += (uint32_t)whole;
        lb_h2_server_touch(l7, server);
    }
    lb_h2_call_give(l7, call);
}

static void carry(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    (void)l7;
    lb_h2_call_of(exchange)->exchange = exchange;
}

const struct lb_stream_ops lb_h2_server_stream = {
    .ready = ready,
    .head = send_head,
    .read = lb_h2_download_read,
    .data = data,
    .flush = flush,
    .await = lb_h2_await_response,
    .resume = lb_h2_await_response,
    .carry = carry,
    .leave = leave,
};
