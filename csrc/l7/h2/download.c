#include "download.h"

#include "../grpc.h"
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

static const char *trailers_of(const struct lb_l7 *l7, const struct lb_h2_call *call)
{
    return lb_heads_at(l7->ctx, &l7->heads, call->trailers);
}

/* Trailers go on in the way that the client takes them: within the last chunk, or apart, behind the data. */
static char *put_end(const struct lb_body_lane *body, const struct lb_h2_call *call, char *to, int chunks,
                     struct lb_chunk_piece *piece)
{
    int passes = call->trailers != LB_SLAB_NONE && body->to->takes & LB_CHUNKS_TRAILERS;
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

enum lb_step lb_h2_download(struct lb_body_lane *body, char *to, uint32_t room, struct lb_chunk_piece *piece)
{
    struct lb_h2_call *call = lb_h2_call_of(body->exchange);
    int chunks = body->to->chunks && body->body->framing == LB_BODY_CHUNKED;
    uint32_t beside = LB_H2_CHUNK_BESIDE + LB_H2_LAST_BESIDE + call->trailers_count, most = room - beside;
    uint32_t content = call->in.pending < most ? call->in.pending : most;
    *piece = (struct lb_chunk_piece){.out = to, .used = content, .data = content};
    if (call->bad)
        return LB_STEP_BAD;
    if (!content && !call->ended)
        return is_over(call) ? LB_STEP_FROM_FAILED : LB_STEP_BLOCKED;
    if (body->body->framing == LB_BODY_LENGTH && content > body->body->left)
        return LB_STEP_BAD;
    char *at = content ? move(body->l7, call, to, content, chunks) : to;
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
