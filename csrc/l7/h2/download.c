#include "download.h"

#include "../base64.h"
#include "../grpc.h"
#include "../grpc_web.h"
#include "../part.h"
#include "../response.h"
#include "held_body.h"

/* The backend may send as much anew; behind its last byte it need not be told. */
static void allow(struct lb_l7 *l7, struct lb_h2_call *call, uint32_t bytes)
{
    uint32_t increment = lb_h2_credit_return(&call->credit, bytes);
    if (!increment || call->ended || call->server->state != LB_H2_SERVER_OPEN)
        return;
    lb_h2_link_window(l7->ctx, &call->server->link, call->id, increment);
    lb_h2_server_touch(l7, call->server);
}

static char *move(struct lb_l7 *l7, struct lb_h2_call *call, char *to, uint32_t count, int chunks)
{
    to = lb_h2_move_held(l7->ctx, &call->in, to, count, chunks);
    allow(l7, call, count);
    return to;
}

/* As text, each time with its own padding, since nothing is to wait for what comes behind it. */
static char *move_as_text(struct lb_l7 *l7, struct lb_h2_call *call, char *to, uint32_t count, int chunks)
{
    uint32_t length = lb_base64_length(count);
    if (chunks)
        to = lb_h2_put_size(to, length);
    (void)lb_h2_move_held(l7->ctx, &call->in, to + length - count, count, 0);
    allow(l7, call, count);
    to = lb_base64_write(to, count);
    return chunks ? lb_h2_put(to, "\r\n", 2) : to;
}

static const char *trailers_of(const struct lb_l7 *l7, const struct lb_h2_call *call)
{
    return lb_heads_at(l7->ctx, &l7->heads, call->trailers);
}

/* Trailers are a client's of gRPC-Web last message, unless all was said in the head. */
static char *put_last_message(const struct lb_body_lane *body, const struct lb_h2_call *call, char *to, int chunks)
{
    const struct lb_exchange *exchange = body->exchange;
    int there = call->trailers != LB_SLAB_NONE, text = exchange->grpc_web & LB_WEB_TEXT_TOLD;
    if (!there && (exchange->grpc_status != LB_GRPC_NONE || body->body->framing != LB_BODY_CHUNKED))
        return to;
    char message[LB_WEB_FRAME_BYTES + LB_TRAILER_BYTES];
    uint32_t count =
        (uint32_t)(lb_grpc_web_trailers(message, there ? trailers_of(body->l7, call) : NULL, call->trailers_count) - message);
    uint32_t length = text ? lb_base64_length(count) : count;
    if (chunks)
        to = lb_h2_put_size(to, length);
    memcpy(to + length - count, message, count);
    to = text ? lb_base64_write(to, count) : to + count;
    return chunks ? lb_h2_put(to, "\r\n", 2) : to;
}

/* Trailers go on in the way that the client takes them: within the last chunk, or apart, behind the data. */
static char *put_end(const struct lb_body_lane *body, const struct lb_h2_call *call, char *to, int chunks,
                     struct lb_chunk_piece *piece)
{
    int web = body->exchange->grpc_web, passes = !web && call->trailers != LB_SLAB_NONE && body->to->takes & LB_CHUNKS_TRAILERS;
    if (web)
        to = put_last_message(body, call, to, chunks);
    if (chunks)
        to = lb_h2_put(to, "0\r\n", 3);
    if (passes && chunks)
        to = lb_h2_put(to, trailers_of(body->l7, call), call->trailers_count);
    if (chunks)
        return lb_h2_put(to, "\r\n", 2);
    if (passes && body->to->takes & LB_CHUNKS_BARE) {
        (void)lb_h2_put(to, trailers_of(body->l7, call), call->trailers_count);
        piece->trailers = call->trailers_count;
    }
    return to;
}

/* END_STREAM has come, and nothing is held. */
static enum lb_step end(struct lb_body_lane *body, const struct lb_h2_call *call)
{
    struct lb_exchange *exchange = body->exchange;
    if (body->body->framing == LB_BODY_LENGTH && body->body->left)
        return LB_STEP_FROM_FAILED; /* RFC 9113 8.1.1 */
    body->body->whole = 1;
    if (exchange->grpc && call->trailers != LB_SLAB_NONE)
        exchange->grpc_status = lb_grpc_status_in_lines(trailers_of(body->l7, call), call->trailers_count);
    return LB_STEP_MOVED;
}

static int is_over(const struct lb_h2_call *call)
{
    return call->bad || call->reset || call->server->state != LB_H2_SERVER_OPEN;
}

/* Bytes of the body that may be written into such a room, framed as the client takes them, with what follows them. */
static uint32_t most_content(const struct lb_exchange *exchange, const struct lb_h2_call *call, uint32_t room)
{
    uint32_t beside = LB_H2_CHUNK_BESIDE + LB_H2_LAST_BESIDE + call->trailers_count;
    if (!exchange->grpc_web)
        return room - beside;
    beside = 2 * LB_H2_CHUNK_BESIDE + LB_H2_LAST_BESIDE + lb_base64_length(lb_grpc_web_trailers_bytes(call->trailers_count));
    return (room - beside) / 4 * 3;
}

enum lb_step lb_h2_download(struct lb_body_lane *body, char *to, uint32_t room, struct lb_chunk_piece *piece)
{
    struct lb_h2_call *call = lb_h2_call_of(body->exchange);
    int chunks = body->to->chunks && body->body->framing == LB_BODY_CHUNKED;
    uint32_t most = most_content(body->exchange, call, room);
    uint32_t content = call->in.pending < most ? call->in.pending : most;
    *piece = (struct lb_chunk_piece){.out = to, .used = content, .data = content};
    if (call->bad)
        return LB_STEP_BAD;
    if (!content && !call->ended)
        return is_over(call) ? LB_STEP_FROM_FAILED : LB_STEP_BLOCKED;
    if (body->body->framing == LB_BODY_LENGTH && content > body->body->left)
        return LB_STEP_BAD;
    char *(*mover)(struct lb_l7 *, struct lb_h2_call *, char *, uint32_t, int) =
        body->exchange->grpc_web & LB_WEB_TEXT_TOLD ? move_as_text : move;
    char *at = content ? mover(body->l7, call, to, content, chunks) : to;
    if (body->body->framing == LB_BODY_LENGTH)
        body->body->left -= content;
    enum lb_step step = LB_STEP_MOVED;
    if (call->ended && !call->in.pending) {
        step = end(body, call);
        at = put_end(body, call, at, chunks, piece);
    }
    piece->out_count = (uint32_t)(at - to);
    return step;
}

enum lb_step lb_h2_download_read(struct lb_body_lane *body, struct lb_chunk_piece *piece)
{
    enum lb_step step = lb_h2_download(body, body->lane.ctx->scratch, LB_SCRATCH_BYTES, piece);
    if (step != LB_STEP_MOVED)
        return step;
    lb_body_arrived(body, piece->data);
    lb_body_moved(body, piece->data);
    if (piece->trailers)
        lb_http_keep_more(body->l7, body->exchange, piece->out + piece->out_count, piece->trailers);
    if (body->body->whole)
        lb_http_judge_call(body->l7, body->exchange);
    return LB_STEP_MOVED;
}
