#include "body.h"

#include <string.h>

#include "../core/io.h"
#include "../l4/relay.h"
#include "belongs.h"
#include "input.h"
#include "sendq.h"

enum { SPLICED_BODY = 65536 }; /* what is left of a body must be this long to be worth a pipe */

static enum lb_step silent(struct lb_lane *lane, ssize_t got)
{
    if (got == 0)
        return LB_STEP_END;
    if (errno == EBUSY)
        return LB_STEP_LATER;
    if (errno != EAGAIN)
        return LB_STEP_FROM_FAILED;
    lane->from->readable = 0;
    if (lane->flow->holds == LB_HOLDS_PIPE && !lane->flow->pending)
        lb_relay_drop(lane->l7->ctx, lane->flow); /* what waits holds nothing */
    return LB_STEP_BLOCKED;
}

static void arrived(struct lb_lane *lane, size_t bytes, size_t asked)
{
    lb_side_got(lane->from, bytes, asked);
    lb_add(lane->counter, bytes);
    *(lane->flow == &lane->exchange->up ? &lane->exchange->bytes_in : &lane->exchange->bytes_out) += bytes;
}

/* So much content came. What frames it, sizes of chunks and trailers, puts off no time limit: it may drip. */
static void moved(struct lb_lane *lane, size_t content)
{
    struct lb_exchange *exchange = lane->exchange;
    if (!content)
        return;
    if (lane->flow != &exchange->up) {
        lb_http_moved(lane->l7, exchange);
        return;
    }
    exchange->expects = 0; /* it waits for no 100, or no longer */
    lb_http_asked(lane->l7, exchange);
}

/* How much is certain to come without anything to be read in it. */
static uint64_t in_one_piece(const struct lb_body *body)
{
    return body->framing == LB_BODY_CHUNKED ? lb_chunked_data(&body->chunked) : body->left;
}

static int wants_splice(const struct lb_lane *lane)
{
    const struct lb_body *body = lane->body;
    if (lane->from->tls || lane->to->tls)
        return 0;
    if (body->framing != LB_BODY_TO_END && in_one_piece(body) < SPLICED_BODY)
        return 0;
    switch ((enum lb_datapath)lane->l7->ctx->datapath) {
    case LB_COPY:
        return 0;
    case LB_SPLICE:
        return 1;
    case LB_AUTO:
    case LB_OFFLOAD: /* of exchanges the kernel sees none: their ends are not those of connections */
        return body->streak >= LB_STREAMING || lane->flow->holds == LB_HOLDS_PIPE;
    }
    return 0;
}

static int take_pipe(struct lb_lane *lane)
{
    struct lb_worker_context *ctx = lane->l7->ctx;
    if (lane->flow->holds == LB_HOLDS_PIPE)
        return 1;
    uint32_t pipe = lb_pipe_take(&ctx->pipes);
    if (pipe == LB_SLAB_NONE) {
        lb_add(&ctx->row->pipe_misses, 1);
        return 0;
    }
    *lane->flow = (struct lb_flow){.held = pipe, .holds = LB_HOLDS_PIPE};
    ctx->row->pipes++;
    return 1;
}

void lb_body_took(struct lb_body *body, size_t bytes)
{
    if (body->framing == LB_BODY_CHUNKED) {
        body->left += bytes;
        lb_chunked_pass(&body->chunked, bytes);
    }
    if (body->framing != LB_BODY_LENGTH)
        return;
    body->left -= bytes;
    body->whole = body->left == 0;
}

static enum lb_step splice_step(struct lb_lane *lane)
{
    struct lb_pipe *pipe = lb_pipe_at(&lane->l7->ctx->pipes, lane->flow->held);
    uint64_t most = LB_PIPE_BYTES;
    if (lane->body->framing != LB_BODY_TO_END && in_one_piece(lane->body) < most)
        most = in_one_piece(lane->body);
    ssize_t got = lb_splice(lane->from->fd, pipe->in, most);
    if (got <= 0)
        return silent(lane, got);
    arrived(lane, (size_t)got, 0);
    moved(lane, (size_t)got);
    lb_add(&lane->l7->ctx->row->bytes_spliced, (uint64_t)got);
    lane->flow->pending = (uint32_t)got;
    lb_body_took(lane->body, (size_t)got);
    return lb_http_flush(lane->l7, lane->to, lane->flow) < 0 ? LB_STEP_TO_FAILED : LB_STEP_MOVED;
}

static enum lb_step send_on(struct lb_lane *lane, const char *bytes, size_t count)
{
    if (count && lb_http_send_parts(lane->l7, lane->to, lane->flow, bytes, count, NULL, 0) < 0)
        return LB_STEP_TO_FAILED;
    return LB_STEP_MOVED;
}

static void note_streak(struct lb_body *body, int full)
{
    if (!full)
        body->streak = 0;
    else if (body->streak < LB_STREAMING)
        body->streak++;
}

static enum lb_step copy_step(struct lb_lane *lane)
{
    char *scratch = lane->l7->ctx->scratch;
    size_t most = LB_SCRATCH_BYTES;
    if (lane->body->framing == LB_BODY_LENGTH && lane->body->left < most)
        most = lane->body->left;
    lb_relay_drop(lane->l7->ctx, lane->flow);
    ssize_t got = lb_side_recv(lane->from, scratch, most);
    if (got <= 0)
        return silent(lane, got);
    arrived(lane, (size_t)got, most);
    moved(lane, (size_t)got);
    lb_body_took(lane->body, (size_t)got);
    note_streak(lane->body, got == LB_SCRATCH_BYTES);
    return send_on(lane, scratch, (size_t)got);
}

/* What follows a chunked request is the next one's. */
static void keep_rest(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, uint32_t count)
{
    if (!count)
        return;
    exchange->in.buffer = lb_heads_take(&l7->heads);
    memcpy(lb_input_at(l7, &exchange->in), bytes, count);
    exchange->in.start = exchange->in.next = exchange->in.seen = 0;
    exchange->in.end = count;
    exchange->bytes_in -= count;
}

/* Read once, and frame it anew in the place where it lies. What follows it stands behind piece->used bytes of *bytes. */
static enum lb_step read_chunks(struct lb_lane *lane, size_t room, struct lb_chunk_piece *piece, char **bytes, uint32_t *count)
{
    *bytes = lane->l7->ctx->scratch + LB_CHUNK_ROOM;
    lb_relay_drop(lane->l7->ctx, lane->flow);
    ssize_t got = lb_side_recv(lane->from, *bytes, room);
    if (got <= 0)
        return silent(lane, got);
    arrived(lane, (size_t)got, room);
    note_streak(lane->body, (size_t)got == room);
    *count = (uint32_t)got;
    enum lb_chunking chunking = lb_chunked_read(&lane->body->chunked, *bytes, *count, piece);
    moved(lane, piece->data);
    lane->body->left += piece->used;
    lane->body->whole = chunking == LB_CHUNKS_DONE;
    return chunking == LB_CHUNKS_BAD ? LB_STEP_BAD : LB_STEP_MOVED;
}

/* Does a body that has passed so far, and is announced so far, go beyond what its listener takes? */
static int is_too_large(const struct lb_lane *lane)
{
    uint64_t most = lb_http_listener(lane->l7, lane->exchange)->max_body;
    return most && lane->body->left + lb_chunked_data(&lane->body->chunked) > most;
}

enum lb_step lb_body_chunked_request(struct lb_lane *lane)
{
    struct lb_chunk_piece piece;
    char *bytes;
    uint32_t count;
    if (wants_splice(lane) && take_pipe(lane))
        return splice_step(lane);
    enum lb_step step = read_chunks(lane, LB_HEAD_BYTES, &piece, &bytes, &count);
    if (step != LB_STEP_MOVED)
        return step;
    if (is_too_large(lane))
        return LB_STEP_TOO_LARGE;
    keep_rest(lane->l7, lane->exchange, bytes + piece.used, count - piece.used);
    return send_on(lane, piece.out, piece.out_count);
}

enum lb_step lb_body_chunked_response(struct lb_lane *lane)
{
    struct lb_chunk_piece piece;
    char *bytes;
    uint32_t count;
    if (wants_splice(lane) && take_pipe(lane))
        return splice_step(lane);
    enum lb_step step = read_chunks(lane, LB_SCRATCH_BYTES - LB_CHUNK_ROOM, &piece, &bytes, &count);
    if (step != LB_STEP_MOVED)
        return step;
    if (piece.used < count) { /* more than a response: the next one cannot be trusted */
        lane->exchange->conn_keeps = 0;
        lb_add(&lane->l7->ctx->row->connections_unsolicited, 1);
        lb_conn_distrust(&lane->l7->conns, lane->exchange->backend);
    }
    return send_on(lane, piece.out, piece.out_count);
}

enum lb_step lb_body_plain(struct lb_lane *lane)
{
    return wants_splice(lane) && take_pipe(lane) ? splice_step(lane) : copy_step(lane);
}
