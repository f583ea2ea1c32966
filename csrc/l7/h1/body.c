#include "body.h"

#include <string.h>

#include "../belongs.h"
#include "../held_route.h"
#include "../input.h"
#include "../part.h"

/* --- what comes with the head --------------------------------------------------------------------------------------- */

/* The first of a chunked body, framed anew where it lies; what follows it moves up. */
static enum lb_reading first_chunks_of_request(struct lb_l7 *l7, struct lb_exchange *exchange, uint8_t rules)
{
    struct lb_body *body = &exchange->request;
    struct lb_chunk_piece piece;
    char *bytes = lb_input_at(l7, &exchange->in) + exchange->in.next;
    uint32_t here = exchange->in.end - exchange->in.next;
    body->chunked.rules = rules;
    enum lb_chunking chunking = lb_chunked_read(&body->chunked, bytes, here, &piece);
    if (chunking == LB_CHUNKS_BAD)
        return LB_READ_BAD;
    body->whole = chunking == LB_CHUNKS_DONE;
    body->left = piece.used; /* of a chunked body: what has passed */
    memmove(bytes, piece.out, piece.out_count);
    memmove(bytes + piece.out_count, bytes + piece.used, here - piece.used);
    exchange->bytes_in += piece.used - piece.out_count;
    exchange->in.end -= piece.used - piece.out_count;
    exchange->in.next += piece.out_count;
    return lb_body_is_too_large(l7, exchange) ? LB_READ_TOO_LARGE : LB_READ_DONE;
}

enum lb_reading lb_h1_first_of_request(struct lb_l7 *l7, struct lb_exchange *exchange, int trailers)
{
    const struct lb_message *message = &l7->message;
    struct lb_body *body = &exchange->request;
    uint64_t most = lb_http_max_body(l7, exchange);
    uint32_t here = exchange->in.end - exchange->in.next, used;
    body->framing = message->framing;
    switch ((enum lb_framing)message->framing) {
    case LB_BODY_NONE:
    case LB_BODY_TO_END:
        body->whole = 1;
        return LB_READ_DONE;
    case LB_BODY_LENGTH:
        if (most && message->length > most)
            return LB_READ_TOO_LARGE;
        used = here < message->length ? here : (uint32_t)message->length;
        exchange->in.next += used;
        body->left = message->length - used;
        body->whole = body->left == 0;
        return LB_READ_DONE;
    case LB_BODY_CHUNKED:
        return first_chunks_of_request(l7, exchange, trailers ? LB_CHUNKS_TRAILERS : 0);
    }
    return LB_READ_BAD;
}

/* Framed anew where it lies, for a client that takes chunks; else only its data. */
static int first_chunks_of_response(const struct lb_exchange *exchange, struct lb_body *body, char *bytes, uint32_t count,
                                    struct lb_chunk_piece *piece)
{
    body->chunked.rules = LB_CHUNKS_LENIENT | exchange->stream[LB_CLIENT].takes;
    enum lb_chunking chunking = lb_chunked_read(&body->chunked, bytes, count, piece);
    body->left = piece->used;
    body->whole = chunking == LB_CHUNKS_DONE;
    return chunking == LB_CHUNKS_BAD ? -1 : 0;
}

int lb_h1_first_of_response(struct lb_exchange *exchange, char *bytes, uint32_t count, struct lb_chunk_piece *piece)
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
        if (first_chunks_of_response(exchange, body, bytes, count, piece) < 0)
            return -1;
        break;
    }
    return 0;
}

/* --- what follows --------------------------------------------------------------------------------------------------- */

static enum lb_step read_some(struct lb_body_lane *body, char *bytes, size_t room, size_t *got)
{
    enum lb_step step = lb_lane_read(&body->lane, bytes, room, got);
    if (step == LB_STEP_MOVED)
        lb_body_arrived(body, *got);
    return step;
}

/* By its length, or to the end: as it comes. */
static enum lb_step read_plain(struct lb_body_lane *body, struct lb_chunk_piece *piece)
{
    size_t most = LB_SCRATCH_BYTES, got = 0;
    if (body->body->framing == LB_BODY_LENGTH && body->body->left < most)
        most = body->body->left;
    enum lb_step step = read_some(body, body->lane.ctx->scratch, most, &got);
    if (step != LB_STEP_MOVED)
        return step;
    lb_body_moved(body, got);
    lb_body_took(body->body, got);
    piece->out = body->lane.ctx->scratch;
    piece->out_count = (uint32_t)got;
    return LB_STEP_MOVED;
}

/* Framed anew in the place where it lies. What follows it is rest bytes long, behind piece->used bytes of *bytes. */
static enum lb_step read_chunks(struct lb_body_lane *body, size_t room, struct lb_chunk_piece *piece, const char **rest,
                                uint32_t *rest_count)
{
    size_t got = 0;
    char *bytes = body->lane.ctx->scratch + LB_CHUNK_ROOM;
    enum lb_step step = read_some(body, bytes, room, &got);
    if (step != LB_STEP_MOVED)
        return step;
    enum lb_chunking chunking = lb_chunked_read(&body->body->chunked, bytes, (uint32_t)got, piece);
    lb_body_moved(body, piece->data);
    body->body->left += piece->used;
    body->body->whole = chunking == LB_CHUNKS_DONE;
    if (piece->trailers)
        lb_http_keep_more(body->l7, body->exchange, piece->out + piece->out_count, piece->trailers);
    *rest = bytes + piece->used;
    *rest_count = (uint32_t)got - piece->used;
    return chunking == LB_CHUNKS_BAD ? LB_STEP_BAD : LB_STEP_MOVED;
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

enum lb_step lb_h1_read_request_body(struct lb_body_lane *body, struct lb_chunk_piece *piece)
{
    const char *rest;
    uint32_t rest_count;
    if (body->body->framing != LB_BODY_CHUNKED)
        return read_plain(body, piece);
    enum lb_step step = read_chunks(body, LB_HEAD_BYTES, piece, &rest, &rest_count);
    if (step != LB_STEP_MOVED)
        return step;
    if (lb_body_is_too_large(body->l7, body->exchange))
        return LB_STEP_TOO_LARGE;
    keep_rest(body->l7, body->exchange, rest, rest_count);
    return LB_STEP_MOVED;
}

/* The connection's end is the body's only where nothing else says how long it is, and nothing says that it was cut (RFC 9112 9.8). */
static enum lb_step judge_end(const struct lb_body_lane *body)
{
    const struct lb_conn *conn = lb_http_conn(body->l7, body->exchange);
    int is_whole = body->body->framing == LB_BODY_TO_END && !lb_side_is_cut(&conn->side) && !conn->was_reset;
    return is_whole ? LB_STEP_END : LB_STEP_FROM_FAILED;
}

enum lb_step lb_h1_read_response_body(struct lb_body_lane *body, struct lb_chunk_piece *piece)
{
    const char *rest;
    uint32_t rest_count = 0;
    enum lb_step step = body->body->framing != LB_BODY_CHUNKED
                          ? read_plain(body, piece)
                          : read_chunks(body, LB_SCRATCH_BYTES - LB_CHUNK_ROOM, piece, &rest, &rest_count);
    if (step == LB_STEP_END)
        return judge_end(body);
    if (step == LB_STEP_MOVED && rest_count) { /* more than a response: the next one cannot be trusted */
        body->exchange->conn_keeps = 0;
        lb_add(&body->lane.ctx->row->connections_unsolicited, 1);
        lb_conn_distrust(&body->l7->conns, body->exchange->backend);
    }
    return step;
}
