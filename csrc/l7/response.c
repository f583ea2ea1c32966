#include "response.h"

#include "../l4/ack.h"
#include "../l4/backend_report.h"
#include "../l4/sendq.h"
#include "../table/account.h"
#include "../table/timing.h"
#include "auth_request.h"
#include "bad_response.h"
#include "belongs.h"
#include "body.h"
#include "bound.h"
#include "charge.h"
#include "edits.h"
#include "elsewhere.h"
#include "forward.h"
#include "grpc.h"
#include "hedge.h"
#include "mirror.h"
#include "part.h"
#include "stopping.h"
#include "twin.h"

/* --- the response's head ---------------------------------------------------------------------------------------------- */

static void judge_response(struct lb_l7 *l7, struct lb_exchange *exchange, uint16_t status)
{
    struct lb_worker_row *row = l7->ctx->row;
    uint32_t took_us = (uint32_t)l7->ctx->now_us - exchange->sent_us;
    uint64_t *classes[] = {&row->responses_2xx, &row->responses_3xx, &row->responses_4xx, &row->responses_5xx};
    exchange->status = status;
    if (exchange->stream[LB_BACKEND].http2)
        lb_gather_note(&l7->servers.gather, took_us);
    exchange->first_us = lb_account_us(exchange->began_us, l7->ctx->now_us);
    lb_timing_note(&l7->ctx->shm, l7->ctx->worker, exchange->pool, LB_TIMING_RESPONSE, l7->ctx->now_us - exchange->began_us);
    if (!lb_is_twin(exchange->client))
        lb_add(classes[status < 600 ? status / 100 - 2 : 3], 1); /* what is unknown is as x00, from 600 on as 500 (RFC 9110 15) */
    if (exchange->grpc && status == 200 && exchange->stream[LB_BACKEND].own)
        return;                                                                              /* lb_http_judge_call */
    int speaks_of_request = status < 500 || status >= 600 || status == 501 || status == 505; /* unless the pool says so */
    if (!speaks_of_request || lb_http_is_refusal(exchange, status) || lb_is_failed_status(lb_http_pool(l7, exchange), status))
        lb_report_failed(l7->ctx, exchange->pool, exchange->backend, status);
    else
        lb_report_responded(l7->ctx, exchange->backend, took_us);
}

void lb_http_judge_call(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (!exchange->grpc || exchange->judged || exchange->status != 200)
        return;
    exchange->judged = 1;
    if (exchange->grpc_status == LB_GRPC_UNAVAILABLE || exchange->grpc_status == LB_GRPC_INTERNAL)
        lb_report_failed(l7->ctx, exchange->pool, exchange->backend, 503);
    else
        lb_report_responded(l7->ctx, exchange->backend, exchange->first_us - exchange->reached_us);
}

/* Its request is not needed any more. */
static void forget_request(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->replayable || exchange->kept)
        lb_input_consume(l7, &exchange->in);
    exchange->replayable = exchange->kept = 0;
    if (exchange->mirror)
        lb_mirror_miss(l7, exchange);
}

/* The response of a twin goes on as that of its request, where it is the first. */
static struct lb_verdict won(struct lb_l7 *l7, struct lb_exchange *twin, const char *bytes, const struct lb_chunk_piece *body)
{
    struct lb_exchange *exchange = lb_hedge_take_over(l7, twin);
    if (!exchange)
        return lb_verdict_end(LB_ENDED_BACKEND);
    l7->won = lb_http_pass_response(l7, exchange, bytes, body);
    return lb_verdict_number(LB_NEXT_WON, lb_http_index(l7, exchange));
}

struct lb_verdict lb_http_pass_response(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes,
                                        const struct lb_chunk_piece *body)
{
    const struct lb_message *message = &l7->message;
    char cookie[LB_COOKIE_BYTES];
    struct lb_head_out out = {.bytes = bytes, .body = body->out, .body_count = body->out_count, .trailers = body->trailers};
    switch ((enum lb_hedging)exchange->hedging) {
    case LB_HEDGE_NONE:
    case LB_HEDGE_MAY_GO:
        break;
    case LB_HEDGE_IS_OUT:
        lb_twin_let_go(l7, exchange);
        break;
    case LB_HEDGE_ASKS:
        lb_auth_answered(l7, exchange, bytes);
        break;
    case LB_HEDGE_TWIN:
    case LB_HEDGE_OVER:
        return won(l7, exchange, bytes, body);
    }
    if (exchange->retry_on) {
        struct lb_verdict elsewhere = lb_http_elsewhere(l7, exchange, bytes);
        if (lb_verdict_decides(elsewhere))
            return elsewhere;
    }
    uint32_t more = LB_ENCODE_ROOM + (exchange->edited != LB_SLAB_NONE ? LB_EDITS_BYTES : 0);
    if (!lb_sendq_can_hold(l7->ctx, message->head.bytes + more + body->out_count))
        return lb_http_no_buffer(l7, exchange);
    if (exchange->sticky_new) {
        lb_http_sticky_cookie(l7, exchange, cookie);
        out.cookie = cookie;
    }
    judge_response(l7, exchange, message->head.status);
    lb_http_note_habit(l7, exchange, message->head.status, !message->persistent);
    exchange->stage = exchange->response.whole ? LB_RESPONSE_WHOLE : LB_RESPONSE_BODY;
    enum lb_step step = exchange->stream[LB_CLIENT].ops->head(l7, exchange, &out);
    if (body->trailers)
        lb_http_keep_part(l7, exchange, body->out + body->out_count, body->trailers);
    else
        lb_http_drop_part(l7, exchange);
    forget_request(l7, exchange);
    lb_edits_drop(l7, exchange);
    return step == LB_STEP_TO_FAILED ? lb_verdict_end(LB_ENDED_CLIENT) : lb_verdict(LB_NEXT_AGAIN);
}

void lb_http_acknowledge(struct lb_l7 *l7, struct lb_exchange *exchange, size_t bytes, uint32_t pause_ms)
{
    struct lb_worker_context *ctx = l7->ctx;
    if (exchange->conn == LB_SLAB_NONE || exchange->stage == LB_RESPONSE_WHOLE)
        return;
    struct lb_backend_health *health = lb_report_of(ctx, exchange->backend);
    lb_lane_acknowledge(ctx, exchange->stream[LB_BACKEND].side, health, bytes, !exchange->parts, &exchange->acked, pause_ms);
    exchange->parts = 1;
}

/* --- the response's body ---------------------------------------------------------------------------------------------- */

static struct lb_verdict response_broke(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    lb_http_decided(l7, exchange, LB_ENDED_BACKEND);
    lb_report_failed(l7->ctx, exchange->pool, exchange->backend, 0);
    return lb_verdict_end(LB_ENDED_BACKEND);
}

/* A further part that makes the response whole says whether the acknowledgement before helped. */
static void last_part(struct lb_l7 *l7, struct lb_exchange *exchange, uint32_t pause_ms)
{
    if (exchange->parts && exchange->stage == LB_RESPONSE_WHOLE && exchange->backend != LB_NONE)
        (void)lb_ack_part(lb_report_of(l7->ctx, exchange->backend), 0, (enum lb_ack)exchange->acked, pause_ms);
}

struct lb_verdict lb_http_transfer_body(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_body_lane body = lb_body_of_response(l7, exchange);
    uint32_t pause_ms = (uint32_t)lb_now_ms(l7->ctx) - exchange->since_ms;
    uint64_t before = l7->ctx->row->bytes_out;
    switch (lb_body_step(&body)) {
    case LB_STEP_MOVED:
        if (exchange->response.whole)
            exchange->stage = LB_RESPONSE_WHOLE;
        lb_http_acknowledge(l7, exchange, l7->ctx->row->bytes_out - before, pause_ms);
        last_part(l7, exchange, pause_ms);
        return lb_verdict(LB_NEXT_AGAIN);
    case LB_STEP_BLOCKED:
        return lb_verdict(LB_NEXT_WAIT);
    case LB_STEP_STARVED:
        return lb_verdict(LB_NEXT_STARVED);
    case LB_STEP_LATER:
        return lb_verdict(LB_NEXT_LATER);
    case LB_STEP_END:
        exchange->stage = LB_RESPONSE_WHOLE;
        return lb_verdict(LB_NEXT_AGAIN);
    case LB_STEP_BAD:
        lb_add(&l7->ctx->row->responses_bad, 1);
        return response_broke(l7, exchange);
    case LB_STEP_FROM_FAILED:
    case LB_STEP_TOO_LARGE:
        return response_broke(l7, exchange);
    case LB_STEP_TO_FAILED:
        return lb_verdict_end(LB_ENDED_CLIENT);
    }
    return lb_verdict(LB_NEXT_WAIT);
}
