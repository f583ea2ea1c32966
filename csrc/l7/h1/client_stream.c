#include "client_stream.h"

#include <string.h>

#include "../../l4/sendq.h"
#include "../belongs.h"
#include "../edits.h"
#include "../grpc.h"
#include "../guard.h"
#include "../openai_error.h"
#include "../route_answer.h"
#include "body.h"
#include "encode.h"
#include "end.h"
#include "upload.h"
#include "../stage.h"
#include "unsent.h"
#include "upgrade.h"

enum { SMALL_BODY = 2048 }; /* is copied behind its head rather than sent as a second part */

static unsigned ready(const struct lb_exchange *exchange)
{
    return lb_h1_ready(exchange->stream[LB_CLIENT].side);
}

static int flush(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    return lb_sendq_flush(l7->ctx, &exchange->down, exchange->stream[LB_CLIENT].side);
}

static enum lb_step data(struct lb_body_lane *body, const char *bytes, size_t count)
{
    return lb_lane_send(&body->lane, bytes, count);
}

/* Read again from the buffer, where it lies as it came. */
static void recall(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    const struct lb_input *in = &exchange->in;
    struct lb_head_limits limits = {LB_MOST_HEAD, LB_MOST_HEAD, LB_FIELD_ROOM}; /* it has passed the listener's */
    if (lb_message_request(&l7->message, lb_input_at(l7, in) + in->start, in->end - in->start, &limits) != LB_READ_DONE)
        __builtin_trap(); /* the same bytes were read well before */
}

/* --- responses ------------------------------------------------------------------------------------------------------- */

static enum lb_step send_interim(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_head_out *out)
{
    struct lb_response_edits edits = {
        .client_minor = 1, .persistent = 1, .http2 = exchange->stream[LB_BACKEND].http2, .date = ""};
    size_t head = lb_encode_response(l7->out, &l7->message, out->bytes, &edits);
    struct lb_side *to = exchange->stream[LB_CLIENT].side;
    return lb_sendq_send(l7->ctx, &exchange->down, to, l7->out, head, NULL, 0) < 0 ? LB_STEP_TO_FAILED : LB_STEP_MOVED;
}

/* Does the connection go on after this response? Not where its end is the body's. */
static int goes_on(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    const struct lb_message *message = &l7->message;
    int to_end = message->framing == LB_BODY_TO_END || (message->framing == LB_BODY_CHUNKED && !exchange->minor);
    return exchange->persistent && (exchange->request.whole || exchange->withheld) && !to_end &&
           !lb_http_client_must_close(l7, exchange->client);
}

static enum lb_step send_head(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_head_out *out)
{
    const struct lb_message *message = &l7->message;
    if (message->head.status < 200)
        return send_interim(l7, exchange, out);
    if (message->head.status == 417 && lb_http_may_repeat(exchange))
        lb_http_keep_unsent(exchange);
    exchange->persistent = (uint8_t)goes_on(l7, exchange);
    struct lb_response_edits edits = {
        .client_minor = exchange->minor,
        .persistent = exchange->persistent,
        .keeps_s = lb_http_listener(l7, exchange)->keepalive_timeout_ms / 1000,
        .http2 = exchange->stream[LB_BACKEND].http2,
        .chunked = message->framing == LB_BODY_CHUNKED && exchange->minor,
        .date = lb_message_has(message, LB_DATE) ? "" : lb_date_text(&l7->date),
        .cookie = out->cookie,
        .edited = lb_edits_of_response(l7, exchange),
        .backend = lb_http_backend_address(l7, exchange),
    };
    struct lb_side *to = exchange->stream[LB_CLIENT].side;
    size_t head = lb_encode_response(l7->out, message, out->bytes, &edits), apart = out->body_count;
    if (apart <= SMALL_BODY) { /* one short copy is cheaper than a second part */
        memcpy(l7->out + head, out->body, apart);
        head += apart;
        apart = 0;
    }
    int sent = lb_h1_is_last(exchange) ? lb_sendq_send_last(l7->ctx, &exchange->down, to, l7->out, head, out->body, apart)
                                       : lb_sendq_send(l7->ctx, &exchange->down, to, l7->out, head, out->body, apart);
    return sent < 0 ? LB_STEP_TO_FAILED : LB_STEP_MOVED;
}

static size_t local(struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_verdict said)
{
    struct lb_local_response response = {
        .status = said.status,
        .client_minor = exchange->minor,
        .persistent = exchange->persistent,
        .head_only = exchange->method == LB_HEAD,
        .date = lb_date_text(&l7->date),
        .why = said.why,
        .openai = (uint8_t)lb_http_tells_openai(l7, exchange),
        .code = exchange->overdue ? LB_ERROR_TOTAL_TIMEOUT : said.end,
        .answer = lb_route_answered(l7, said),
        .challenges = lb_guard_lines(l7, exchange, said),
        .listener = lb_http_listener(l7, exchange),
        .retry_after_s = said.next == LB_NEXT_ANSWER ? 0 : said.number,
    };
    char lines[LB_GRPC_LINES];
    if (exchange->grpc_web) {
        (void)lb_grpc_lines(lines, (enum lb_grpc_status)exchange->grpc_status, said.why, exchange->grpc_web);
        response.lines = lines;
    }
    size_t length = lb_encode_local(l7->out, &response);
    const struct lb_edited_head *edited = lb_edits_of_response(l7, exchange);
    return edited ? lb_edited_apply(edited, l7->out, length, lb_http_backend_address(l7, exchange)) : length;
}

static const struct lb_stream_ops ops = {
    .ready = ready,
    .head = send_head,
    .read = lb_h1_read_request_body,
    .data = data,
    .flush = flush,
    .local = local,
    .recall = recall,
    .more = lb_h1_more,
    .switched = lb_http_switch_protocols,
    .done = lb_h1_done,
    .reset = lb_h1_reset,
};

struct lb_stream lb_h1_client_stream(struct lb_http_client *client)
{
    return (struct lb_stream){.ops = &ops, .side = &client->side};
}
