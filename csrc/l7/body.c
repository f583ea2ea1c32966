#include "body.h"

#include <string.h>

#include "belongs.h"
#include "input.h"

enum { SPLICED_BODY = 65536 }; /* what is left of a body must be this long to be worth a pipe */

struct lb_body_lane lb_body_of_request(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_side *from = &exchange->client->side, *to = &lb_http_conn(l7, exchange)->side;
    struct lb_lane lane = {l7->ctx, from, to, &exchange->up, &exchange->request.streak};
    return (struct lb_body_lane){lane, l7, exchange, &exchange->request, &exchange->bytes_in, &l7->ctx->row->bytes_in};
}

struct lb_body_lane lb_body_of_response(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_side *from = &lb_http_conn(l7, exchange)->side, *to = &exchange->client->side;
    struct lb_lane lane = {l7->ctx, from, to, &exchange->down, &exchange->response.streak};
    return (struct lb_body_lane){lane, l7, exchange, &exchange->response, &exchange->bytes_out, &l7->ctx->row->bytes_out};
}

/* What waits holds nothing. */
static enum lb_step silent(struct lb_body_lane *body, enum lb_step step)
{
    if (step == LB_STEP_BLOCKED && !body->lane.flow->pending)
        lb_sendq_drop(body->lane.ctx, body->lane.flow);
    return step;
}

static void arrived(struct lb_body_lane *body, size_t bytes)
{
    lb_add(body->counter, bytes);
    *body->bytes += bytes;
}

/* So much content came. What frames it, sizes of chunks and trailers, puts off no time limit: it may drip. */
static void moved(struct lb_body_lane *body, size_t content)
{
    struct lb_exchange *exchange = body->exchange;
    if (!content)
        return;
    if (body->lane.flow != &exchange->up) {
        lb_http_moved(body->l7, exchange);
        return;
    }
    exchange->expects = 0; /* it waits for no 100, or no longer */
    lb_http_asked(body->l7, exchange);
}

/* How much is certain to come without anything to be read in it. */
static uint64_t in_one_piece(const struct lb_body *body)
{
    return body->framing == LB_BODY_CHUNKED ? lb_chunked_data(&body->chunked) : body->left;
}

/* What is long and needs not be read, a chunk's data included, is spliced. */
static int is_spliced(struct lb_body_lane *body)
{
    if (body->body->framing != LB_BODY_TO_END && in_one_piece(body->body) < SPLICED_BODY)
        return 0;
    return lb_lane_wants_splice(&body->lane) && lb_sendq_take_pipe(body->lane.ctx, body->lane.flow);
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

static enum lb_step splice_step(struct lb_body_lane *body)
{
    uint64_t most = LB_PIPE_BYTES;
    size_t got;
    if (body->body->framing != LB_BODY_TO_END && in_one_piece(body->body) < most)
        most = in_one_piece(body->body);
    enum lb_step step = lb_lane_splice(&body->lane, most, &got);
    if (step != LB_STEP_MOVED)
        return silent(body, step);
    arrived(body, got);
    moved(body, got);
    lb_body_took(body->body, got);
    return lb_lane_flush(&body->lane) == LB_STEP_TO_FAILED ? LB_STEP_TO_FAILED : LB_STEP_MOVED;
}

static enum lb_step send_on(struct lb_body_lane *body, const char *bytes, size_t count)
{
    if (count && lb_lane_send(&body->lane, bytes, count) == LB_STEP_TO_FAILED)
        return LB_STEP_TO_FAILED;
    return LB_STEP_MOVED;
}

/* Read once; what was held is out, or this would not be its turn. */
static enum lb_step read_some(struct lb_body_lane *body, char *bytes, size_t room, size_t *got)
{
    lb_sendq_drop(body->lane.ctx, body->lane.flow);
    enum lb_step step = lb_lane_read(&body->lane, bytes, room, got);
    if (step == LB_STEP_MOVED)
        arrived(body, *got);
    return step;
}

static enum lb_step copy_step(struct lb_body_lane *body)
{
    char *scratch = body->lane.ctx->scratch;
    size_t most = LB_SCRATCH_BYTES, got;
    if (body->body->framing == LB_BODY_LENGTH && body->body->left < most)
        most = body->body->left;
    enum lb_step step = read_some(body, scratch, most, &got);
    if (step != LB_STEP_MOVED)
        return step;
    moved(body, got);
    lb_body_took(body->body, got);
    return send_on(body, scratch, got);
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
static enum lb_step read_chunks(struct lb_body_lane *body, size_t room, struct lb_chunk_piece *piece, char **bytes,
                                uint32_t *count)
{
    size_t got;
    *bytes = body->lane.ctx->scratch + LB_CHUNK_ROOM;
    enum lb_step step = read_some(body, *bytes, room, &got);
    if (step != LB_STEP_MOVED)
        return step;
    *count = (uint32_t)got;
    enum lb_chunking chunking = lb_chunked_read(&body->body->chunked, *bytes, *count, piece);
    moved(body, piece->data);
    body->body->left += piece->used;
    body->body->whole = chunking == LB_CHUNKS_DONE;
    return chunking == LB_CHUNKS_BAD ? LB_STEP_BAD : LB_STEP_MOVED;
}

/* Does a body that has passed so far, and is announced so far, go beyond what its listener takes? */
static int is_too_large(const struct lb_body_lane *body)
{
    uint64_t most = lb_http_listener(body->l7, body->exchange)->max_body;
    return most && body->body->left + lb_chunked_data(&body->body->chunked) > most;
}

enum lb_step lb_body_chunked_request(struct lb_body_lane *body)
{
    struct lb_chunk_piece piece;
    char *bytes;
    uint32_t count;
    if (is_spliced(body))
        return splice_step(body);
    enum lb_step step = read_chunks(body, LB_HEAD_BYTES, &piece, &bytes, &count);
    if (step != LB_STEP_MOVED)
        return step;
    if (is_too_large(body))
        return LB_STEP_TOO_LARGE;
    keep_rest(body->l7, body->exchange, bytes + piece.used, count - piece.used);
    return send_on(body, piece.out, piece.out_count);
}

enum lb_step lb_body_chunked_response(struct lb_body_lane *body)
{
    struct lb_chunk_piece piece;
    char *bytes;
    uint32_t count;
    if (is_spliced(body))
        return splice_step(body);
    enum lb_step step = read_chunks(body, LB_SCRATCH_BYTES - LB_CHUNK_ROOM, &piece, &bytes, &count);
    if (step != LB_STEP_MOVED)
        return step;
    if (piece.used < count) { /* more than a response: the next one cannot be trusted */
        body->exchange->conn_keeps = 0;
        lb_add(&body->lane.ctx->row->connections_unsolicited, 1);
        lb_conn_distrust(&body->l7->conns, body->exchange->backend);
    }
    return send_on(body, piece.out, piece.out_count);
}

enum lb_step lb_body_plain(struct lb_body_lane *body)
{
    return is_spliced(body) ? splice_step(body) : copy_step(body);
}
