#include "upload.h"

#include <string.h>

#include "../bad_request.h"
#include "../belongs.h"
#include "../held_route.h"
#include "../input.h"
#include "held_body.h"

int lb_h2_upload_take(struct lb_l7 *l7, struct lb_h2_stream *stream, const uint8_t *bytes, uint32_t count)
{
    char *at = lb_sendq_room(l7->ctx, &stream->in, count);
    if (!at)
        return -1;
    memcpy(at, bytes, count);
    stream->in.pending += count;
    return 0;
}

/* --- as it goes on ------------------------------------------------------------------------------------------------------ */

/* The client may send as much anew; behind its last byte it need not be told. */
static void allow(struct lb_l7 *l7, struct lb_h2_stream *stream, uint32_t bytes)
{
    uint32_t increment = lb_h2_credit_return(&stream->credit, bytes);
    if (!increment || stream->ended)
        return;
    lb_h2_link_window(l7->ctx, &stream->client->link, stream->id, increment);
    lb_h2_client_touch(l7, stream->client);
}

static char *move(struct lb_l7 *l7, struct lb_h2_stream *stream, char *to, uint32_t count, int chunks)
{
    to = lb_h2_move_held(l7->ctx, &stream->in, to, count, chunks);
    allow(l7, stream, count);
    return to;
}

static uint32_t end_bytes(const struct lb_h2_stream *stream)
{
    return LB_H2_LAST_BESIDE + stream->trailers_count;
}

static char *put_end(struct lb_l7 *l7, const struct lb_exchange *exchange, const struct lb_h2_stream *stream, char *to)
{
    to = lb_h2_put(to, "0\r\n", 3);
    if (stream->trailers != LB_SLAB_NONE && exchange->request.chunked.rules & LB_CHUNKS_TRAILERS)
        to = lb_h2_put(to, lb_heads_at(l7->ctx, &l7->heads, stream->trailers), stream->trailers_count);
    return lb_h2_put(to, "\r\n", 2);
}

/* What came does not agree with content-length (RFC 9113 8.1.1). */
static int disagrees(const struct lb_exchange *exchange, const struct lb_h2_stream *stream)
{
    uint64_t left = exchange->request.left;
    return exchange->request.framing == LB_BODY_LENGTH &&
           (stream->in.pending > left || (stream->ended && stream->in.pending != left));
}

/* Write what is held of it, in at most `room` bytes, as chunks or not; *content: how much of it. All of it: it is whole. */
static char *write_some(struct lb_l7 *l7, struct lb_exchange *exchange, char *to, uint32_t room, int chunks, uint32_t *content)
{
    struct lb_h2_stream *stream = lb_h2_stream_of(exchange);
    struct lb_body *body = &exchange->request;
    const char *end = to + room;
    uint32_t most = room > LB_H2_CHUNK_BESIDE ? room - LB_H2_CHUNK_BESIDE : 0;
    *content = stream->in.pending < most ? stream->in.pending : most;
    if (*content)
        to = move(l7, stream, to, *content, chunks);
    if (body->framing == LB_BODY_LENGTH)
        body->left -= *content;
    else
        body->left += *content;
    if (!stream->ended || stream->in.pending || (chunks && end - to < (ptrdiff_t)end_bytes(stream)))
        return to;
    body->whole = !exchange->tunnel;
    return chunks ? put_end(l7, exchange, stream, to) : to;
}

/* --- while no backend has the request ------------------------------------------------------------------------------------- */

static enum lb_reading take_here(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_h2_stream *stream = lb_h2_stream_of(exchange);
    struct lb_input *in = &exchange->in;
    char *begin = lb_input_at(l7, in) + in->end;
    uint32_t content;
    if (disagrees(exchange, stream)) {
        stream->error = LB_H2_PROTOCOL_ERROR;
        return LB_READ_BAD;
    }
    char *end = write_some(l7, exchange, begin, lb_heads_room(in->buffer) - in->end, exchange->request.framing == LB_BODY_CHUNKED,
                           &content);
    in->next = in->end = in->end + (uint32_t)(end - begin);
    exchange->bytes_in += content;
    if (content)
        exchange->expects = 0; /* it waits for no 100 */
    return lb_body_is_too_large(l7, exchange) ? LB_READ_TOO_LARGE : LB_READ_DONE;
}

enum lb_reading lb_h2_upload_begin(struct lb_l7 *l7, struct lb_exchange *exchange, int trailers)
{
    const struct lb_message *message = &l7->message;
    struct lb_body *body = &exchange->request;
    uint64_t most = lb_http_max_body(l7, exchange);
    body->framing = message->framing;
    if (message->framing == LB_BODY_NONE) {
        body->whole = 1;
        return LB_READ_DONE;
    }
    if (message->framing == LB_BODY_LENGTH) {
        if (most && message->length > most)
            return LB_READ_TOO_LARGE;
        body->left = message->length;
    }
    body->chunked.rules = trailers ? LB_CHUNKS_TRAILERS : 0;
    return take_here(l7, exchange);
}

struct lb_verdict lb_h2_upload_more(struct lb_l7 *l7, struct lb_exchange *exchange, int surely)
{
    struct lb_h2_stream *stream = lb_h2_stream_of(exchange);
    uint32_t before = exchange->in.end;
    (void)surely; /* the client's end is an event of its connection */
    if (!stream->in.pending && !stream->ended)
        return lb_verdict(LB_NEXT_WAIT);
    enum lb_reading reading = take_here(l7, exchange);
    if (reading == LB_READ_BAD)
        return lb_verdict_end(LB_ENDED_CLIENT);
    if (reading != LB_READ_DONE)
        return lb_http_bad_request(l7, exchange, reading);
    exchange->replayable = exchange->request.whole && lb_method_is_idempotent((enum lb_method)exchange->method);
    return lb_verdict(exchange->in.end != before && !exchange->request.whole ? LB_NEXT_AGAIN : LB_NEXT_WAIT);
}

/* --- to the backend ------------------------------------------------------------------------------------------------------- */

/* The client says no more: neither does its protocol's other end hear more. */
static enum lb_step end_tunnel(struct lb_body_lane *body)
{
    body->exchange->request.whole = 1;
    if (!body->to->side)
        return body->to->ops->data(body, body->lane.ctx->scratch, 0) == LB_STEP_TO_FAILED ? LB_STEP_TO_FAILED : LB_STEP_BLOCKED;
    (void)lb_side_finish(body->to->side);
    return LB_STEP_BLOCKED;
}

enum lb_step lb_h2_upload_read(struct lb_body_lane *body, struct lb_chunk_piece *piece)
{
    struct lb_l7 *l7 = body->l7;
    struct lb_exchange *exchange = body->exchange;
    struct lb_h2_stream *stream = lb_h2_stream_of(exchange);
    char *begin = body->lane.ctx->scratch;
    uint32_t content;
    if (disagrees(exchange, stream)) {
        lb_add(&l7->ctx->row->requests_bad, 1);
        stream->error = LB_H2_PROTOCOL_ERROR;
        return LB_STEP_FROM_FAILED;
    }
    int chunks = body->to->chunks && exchange->request.framing == LB_BODY_CHUNKED;
    if (exchange->tunnel && !stream->in.pending)
        return end_tunnel(body);
    char *end = write_some(l7, exchange, begin, LB_SCRATCH_BYTES, chunks, &content);
    if (end == begin && !exchange->request.whole)
        return LB_STEP_BLOCKED;
    *piece = (struct lb_chunk_piece){.out = begin, .out_count = (uint32_t)(end - begin), .used = content, .data = content};
    exchange->bytes_in += content;
    lb_body_moved(body, content);
    int too_large = exchange->request.framing == LB_BODY_CHUNKED && lb_body_is_too_large(l7, exchange);
    return too_large ? LB_STEP_TOO_LARGE : LB_STEP_MOVED;
}
