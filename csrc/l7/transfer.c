#include "transfer.h"

#include <string.h>

#include "../table/account.h"
#include "../tls/connection.h"
#include "../core/random.h"
#include "../l4/backend_report.h"
#include "../l4/sendq.h"
#include "body.h"
#include "elsewhere.h"
#include "belongs.h"
#include "caller.h"
#include "edits.h"
#include "forward.h"
#include "input.h"
#include "min_rate.h"
#include "mirror.h"
#include "request_log.h"
#include "response.h"
#include "stage.h"

/* --- the request ---------------------------------------------------------------------------------------------------- */

static void fill_forward(struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_forward *forward, struct lb_trace *trace)
{
    *forward = (struct lb_forward){
        .listener = lb_http_listener(l7, exchange),
        .peer = exchange->client->ip,
        .trusted = exchange->client->trusted,
        .trailers = lb_http_pool(l7, exchange)->trailers != 0,
        .http2 = exchange->stream[LB_CLIENT].http2,
        .tls = (uint8_t)lb_http_client_spoke_tls(l7, exchange->client),
        .certificate = exchange->client->side.tls ? exchange->client->side.tls->certificate : NULL,
        .backend = lb_backend_authority(&l7->ctx->shm.backends[exchange->backend]),
        .caller = exchange->caller == LB_SLAB_NONE ? NULL : lb_slab_at(&l7->callers, exchange->caller),
    };
    if (lb_http_trace(l7, exchange, trace, &forward->trace_begins))
        forward->trace = trace;
    forward->edited = lb_edits_of(l7, exchange);
    if (forward->edited && forward->edited->id[1]) {
        memcpy(forward->id, forward->edited->id, sizeof forward->id);
    } else if (forward->listener->request_id) {
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
        lb_http_log_id(l7, exchange, id, (uint32_t)(lb_forward_write_id(id, forward->id) - id));
}

/* The backend did not take a byte of it. */
static struct lb_verdict not_taken(struct lb_exchange *exchange)
{
    if (!exchange->reused)
        return lb_verdict_number(LB_NEXT_FAILED, ECONNRESET); /* it accepted the connection, and then nothing */
    exchange->replayable = 1;
    return lb_verdict_lost(502, "the backend closed the connection");
}

/* A backend of HTTP/2 says which requests it has not looked at: they are kept for another, as are those of pools with retry_on. Behind the chunks of a client of HTTP/1 the next
 * request may come with the last of them, so that only whole ones stay in the buffer. */
static uint8_t may_go_elsewhere(const struct lb_exchange *exchange)
{
    return (exchange->stream[LB_BACKEND].own || exchange->mirror || lb_http_may_come_back(exchange)) &&
           (exchange->request.whole || exchange->request.framing == LB_BODY_LENGTH ||
            exchange->client->speaks == LB_SPEAKS_HTTP2);
}

static const char bad_coding[] = "the body breaks the rules of its coding";

static struct lb_verdict bad_body(struct lb_l7 *l7, struct lb_exchange *exchange, uint16_t status, const char *why)
{
    lb_add(&l7->ctx->row->requests_bad, 1);
    exchange->persistent = 0;
    if (lb_http_is_answered(exchange))
        return lb_verdict_end(LB_ENDED_CLIENT);
    return lb_verdict_respond(status, why);
}

struct lb_verdict lb_http_send_request(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_forward forward;
    struct lb_trace trace;
    const char *bytes = lb_input_at(l7, &exchange->in) + exchange->in.start;
    uint32_t head = l7->message.head.bytes;
    struct lb_head_out out = {
        .bytes = bytes, .body = bytes + head, .body_count = exchange->in.next - exchange->in.start - head, .forward = &forward};
    fill_forward(l7, exchange, &forward, &trace);
    if (forward.caller)
        lb_caller_remove(forward.caller, &l7->message, bytes);
    if (exchange->log != LB_SLAB_NONE)
        keep_id(l7, exchange, &forward, bytes);
    exchange->sent_us = (uint32_t)l7->ctx->now_us;
    exchange->reached_us = lb_account_us(exchange->began_us, l7->ctx->now_us);
    enum lb_step step = exchange->stream[LB_BACKEND].ops->head(l7, exchange, &out);
    if (step == LB_STEP_STARVED)
        return lb_verdict_respond(503, "the balancer has no buffer left");
    if (step == LB_STEP_BAD)
        return bad_body(l7, exchange, 400, bad_coding);
    if (step == LB_STEP_TO_FAILED)
        return not_taken(exchange);
    if (!exchange->request.whole)
        lb_http_rate_sender(l7, exchange);
    exchange->replayable &= exchange->request.whole; /* what comes from now on goes out as it comes */
    exchange->kept = may_go_elsewhere(exchange);
    if (exchange->mirror && exchange->request.whole)
        lb_mirror_send(l7, exchange);
    if (!exchange->replayable && !exchange->kept)
        lb_input_consume(l7, &exchange->in);
    return lb_verdict(LB_NEXT_AGAIN);
}

/* Send on what is held; an end that takes some of it is slow, not silent. */
static int flush(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_side_name to)
{
    const struct lb_flow *flow = to == LB_BACKEND ? &exchange->up : &exchange->down;
    uint32_t held = flow->pending;
    int flushed = exchange->stream[to].ops->flush(l7, exchange);
    if (flow->pending != held)
        (to == LB_BACKEND ? lb_http_asked : lb_http_moved)(l7, exchange);
    return flushed;
}

/* --- the request's body --------------------------------------------------------------------------------------------- */

/* The backend takes no more of the request; its response may be on its way all the same. */
static void backend_is_deaf(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    lb_sendq_drop(l7->ctx, &exchange->up);
    exchange->deaf = 1;
    exchange->conn_keeps = exchange->persistent = 0;
}

static struct lb_verdict transfer_request(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->deaf)
        return lb_verdict(LB_NEXT_WAIT);
    if (exchange->up.pending) {
        lb_http_excuse(exchange); /* it waits for the backend */
        int flushed = flush(l7, exchange, LB_BACKEND);
        if (flushed < 0)
            backend_is_deaf(l7, exchange);
        return lb_verdict(flushed ? LB_NEXT_AGAIN : LB_NEXT_WAIT);
    }
    if (exchange->request.whole) {
        lb_sendq_drop(l7->ctx, &exchange->up);
        if (exchange->mirror)
            lb_mirror_send(l7, exchange);
        if (exchange->client->speaks == LB_SPEAKS_HTTP2) /* many may wait on one connection */
            lb_input_fit(l7, &exchange->in);
        return lb_verdict(LB_NEXT_WAIT);
    }
    int more = !exchange->withheld && lb_http_client_can(exchange, LB_CAN_READ);
    exchange->stalled = more && !lb_http_backend_can(exchange, LB_CAN_SEND);
    if (!more || exchange->stalled)
        return lb_verdict(LB_NEXT_WAIT);
    if (!lb_buffer_pool_ready(&l7->ctx->buffers))
        return lb_verdict(LB_NEXT_STARVED);
    struct lb_body_lane body = lb_body_of_request(l7, exchange);
    switch (lb_body_step(&body)) {
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
        return bad_body(l7, exchange, 400, bad_coding);
    case LB_STEP_TOO_LARGE:
        return bad_body(l7, exchange, 413, "the body is too large");
    }
    return lb_verdict(LB_NEXT_WAIT);
}

/* --- both directions ------------------------------------------------------------------------------------------------ */

/* The backend agrees to another protocol, but that waits until all of the request has gone out (RFC 9110 7.8). */
static struct lb_verdict go_on_switching(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->deaf)
        return lb_verdict_lost(502, "the backend closed the connection");
    if (!lb_http_has_asked_all(exchange))
        return lb_verdict(LB_NEXT_WAIT);
    exchange->switching = 0;
    return exchange->stream[LB_BACKEND].ops->resume(l7, exchange);
}

static struct lb_verdict transfer_response(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    int was_pending = exchange->down.pending != 0;
    if (was_pending) {
        int flushed = flush(l7, exchange, LB_CLIENT);
        if (flushed < 0)
            return lb_verdict_end(LB_ENDED_CLIENT);
        if (!flushed)
            return lb_verdict(LB_NEXT_WAIT);
    }
    if (exchange->switching)
        return go_on_switching(l7, exchange);
    if (was_pending && exchange->stage == LB_RESPONSE_AWAITED && exchange->part_end) /* what came behind an interim response */
        return exchange->stream[LB_BACKEND].ops->resume(l7, exchange);
    if (exchange->stage == LB_RESPONSE_WHOLE)
        return lb_verdict(LB_NEXT_FINISH);
    int more = lb_http_backend_can(exchange, LB_CAN_READ);
    if (!more && exchange->request.whole)
        lb_http_excuse(exchange); /* it has taken all that there is */
    if (!more || !lb_http_client_can(exchange, LB_CAN_SEND))
        return lb_verdict(LB_NEXT_WAIT);
    if (!lb_buffer_pool_ready(&l7->ctx->buffers))
        return lb_verdict(LB_NEXT_STARVED);
    return exchange->stage == LB_RESPONSE_AWAITED ? exchange->stream[LB_BACKEND].ops->await(l7, exchange)
                                                  : lb_http_transfer_body(l7, exchange);
}

struct lb_verdict lb_http_transfer(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_verdict up = transfer_request(l7, exchange);
    if (lb_verdict_decides(up))
        return up;
    struct lb_verdict down = transfer_response(l7, exchange);
    return lb_verdict_decides(down) || down.next == LB_NEXT_AGAIN || up.next == LB_NEXT_WAIT ? down : up;
}
