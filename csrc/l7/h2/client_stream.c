#include "client_stream.h"

#include <stdio.h>
#include <string.h>

#include "../belongs.h"
#include "../edits.h"
#include "../finish.h"
#include "../h1/encode.h"
#include "client_send.h"
#include "../grpc.h"
#include "../guard.h"
#include "end.h"
#include "streams.h"
#include "tunnel.h"
#include "upload.h"
#include "../input.h"
#include "../openai_error.h"
#include "../route_answer.h"

enum {
    BYTES_EARNED = 8192, /* a response earns its client so many of cheap frames: grpcio 1.85.1 sends three a call */
};

static struct lb_h2_link *link_of(const struct lb_h2_stream *stream)
{
    return &stream->client->link;
}

/* --- what it is ready for ------------------------------------------------------------------------------------------------ */

/* A head needs no window. */
static int can_send(const struct lb_exchange *exchange, struct lb_h2_stream *stream)
{
    struct lb_h2_client *client = stream->client;
    if (!lb_h2_link_takes(&client->link)) {
        client->full = 1;
        return 0;
    }
    if (exchange->stage == LB_RESPONSE_AWAITED)
        return 1;
    return stream->window.left > 0 && client->link.window.left > 0 && (stream->share || client->streams == 1);
}

static unsigned ready(const struct lb_exchange *exchange)
{
    struct lb_h2_stream *stream = lb_h2_stream_of(exchange);
    int reads = stream->in.pending || (stream->ended && !exchange->request.whole);
    return (reads ? LB_CAN_READ : 0) | (can_send(exchange, stream) ? LB_CAN_SEND : 0);
}

static void recall(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    struct lb_head_limits limits = {LB_MOST_HEAD, LB_MOST_HEAD, LB_FIELD_ROOM}; /* it has passed the listener's */
    const struct lb_input *in = &exchange->in;
    if (lb_message_request(&l7->message, lb_input_at(l7, in) + in->start, in->end - in->start, &limits) != LB_READ_DONE)
        __builtin_trap(); /* the same bytes were read well before */
}

static enum lb_step data(struct lb_body_lane *body, const char *bytes, size_t count)
{
    return lb_h2_send(body->l7, body->exchange, bytes, count);
}

/* --- heads --------------------------------------------------------------------------------------------------------------- */

static enum lb_step send_head(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_head_out *out)
{
    struct lb_h2_stream *stream = lb_h2_stream_of(exchange);
    struct lb_h2_edits edits = {
        .date = lb_date_text(&l7->date), .cookie = out->cookie, .http2 = exchange->stream[LB_BACKEND].http2};
    if (l7->message.head.status < 200)
        return lb_h2_send_head(l7, stream, out->bytes, &edits, 0);
    edits.edited = lb_edits_of_response(l7, exchange);
    edits.backend = lb_http_backend_address(l7, exchange);
    int ends = exchange->response.whole && !out->body_count && !out->trailers;
    enum lb_step step = lb_h2_send_head(l7, stream, out->bytes, &edits, ends);
    if (step == LB_STEP_TO_FAILED)
        return step;
    exchange->part_end = out->trailers; /* see is_last */
    return lb_h2_send(l7, exchange, out->body, out->body_count) == LB_STEP_TO_FAILED ? LB_STEP_TO_FAILED : LB_STEP_MOVED;
}

/* What is composed in l7->out, as the edits of its response want it: its length. */
static size_t edit(struct lb_l7 *l7, const struct lb_exchange *exchange, size_t length)
{
    const struct lb_edited_head *edited = lb_edits_of_response(l7, exchange);
    return edited ? lb_edited_apply(edited, l7->out, length, lb_http_backend_address(l7, exchange)) : length;
}

/* A call is told in gRPC's words, in one frame: a client would make of a status of HTTP what it says of none (grpcio 1.85.1: UNKNOWN). */
static size_t local_call(struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_h2_stream *stream,
                         struct lb_verdict said)
{
    static const struct lb_head_limits limits = {LB_MOST_HEAD, LB_MOST_HEAD, LB_FIELD_ROOM};
    char lines[LB_GRPC_LINES];
    (void)lb_grpc_lines(lines, (enum lb_grpc_status)exchange->grpc_status, said.why, exchange->grpc_web);
    size_t length = (size_t)sprintf(l7->out, "HTTP/1.1 200 \r\n%s\r\n", lines);
    length = edit(l7, exchange, length);
    if (lb_message_response(&l7->message, l7->out, (uint32_t)length, &limits, LB_POST) != LB_READ_DONE)
        __builtin_trap(); /* we have written it ourselves */
    struct lb_h2_edits edits = {.local = 1};
    (void)lb_h2_send_head(l7, stream, l7->out, &edits, 1); /* what fails is told by the connection */
    return 0;
}

/* Composed and read as that of HTTP/1 is. */
static size_t local(struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_verdict said)
{
    static const struct lb_head_limits limits = {LB_MOST_HEAD, LB_MOST_HEAD, LB_FIELD_ROOM};
    struct lb_h2_stream *stream = lb_h2_stream_of(exchange);
    if (exchange->grpc)
        return local_call(l7, exchange, stream, said);
    struct lb_local_response response = {
        .status = said.status,
        .client_minor = 1,
        .persistent = 1,
        .date = lb_date_text(&l7->date),
        .why = said.why,
        .openai = (uint8_t)lb_http_tells_openai(l7, exchange),
        .code = exchange->overdue ? LB_ERROR_TOTAL_TIMEOUT : said.end,
        .answer = lb_route_answered(l7, said),
        .challenges = lb_guard_lines(l7, exchange, said),
        .listener = lb_http_listener(l7, exchange),
        .retry_after_s = said.next == LB_NEXT_ANSWER ? 0 : said.number,
    };
    size_t length = edit(l7, exchange, lb_encode_local(l7->out, &response));
    if (lb_message_response(&l7->message, l7->out, (uint32_t)length, &limits, LB_GET) != LB_READ_DONE)
        __builtin_trap(); /* we have written it ourselves */
    size_t head = l7->message.head.bytes, body = exchange->method == LB_HEAD ? 0 : length - head;
    struct lb_h2_edits edits = {.local = 1};
    if (lb_h2_send_head(l7, stream, l7->out, &edits, !body) != LB_STEP_MOVED)
        return 0;
    memmove(l7->out, l7->out + head, body);
    return body;
}

/* --- its end ------------------------------------------------------------------------------------------------------------- */

static struct lb_verdict done(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_h2_stream *stream = lb_h2_stream_of(exchange);
    enum lb_step step = stream->said_end ? LB_STEP_MOVED : lb_h2_send_end(l7, exchange);
    if (link_of(stream)->failed || step == LB_STEP_TO_FAILED) {
        stream->error = LB_H2_INTERNAL_ERROR;
        return lb_verdict_end(LB_ENDED_NO_BUFFER);
    }
    if (step == LB_STEP_BLOCKED) {
        stream->client->full = 1;
        return lb_verdict(LB_NEXT_WAIT);
    }
    if (!stream->ended) /* the rest of the request is not wanted (RFC 9113 8.1) */
        lb_h2_stream_reset(l7, stream->client, stream->id, LB_H2_NO_ERROR);
    lb_h2_budget_earn(&link_of(stream)->budget, BYTES_EARNED);
    lb_http_finish(l7, exchange);
    lb_h2_stream_give(l7, stream);
    return lb_verdict(LB_NEXT_OVER);
}

static void reset(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_end why)
{
    lb_h2_stream_end(l7, lb_h2_stream_of(exchange), why);
}

static const struct lb_stream_ops ops = {
    .ready = ready,
    .head = send_head,
    .read = lb_h2_upload_read,
    .data = data,
    .flush = lb_h2_flush,
    .local = local,
    .recall = recall,
    .more = lb_h2_upload_more,
    .switched = lb_h2_switched,
    .done = done,
    .reset = reset,
};

struct lb_stream lb_h2_client_stream(struct lb_h2_stream *stream)
{
    return (struct lb_stream){.ops = &ops, .takes = LB_CHUNKS_BARE | LB_CHUNKS_TRAILERS, .http2 = 1, .own = stream};
}
