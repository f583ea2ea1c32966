#include "elsewhere.h"

#include "../l4/backend_report.h"
#include "../l4/sendq.h"
#include "../table/avoid.h"
#include "attempt.h"
#include "belongs.h"
#include "charge.h"
#include "part.h"
#include "stage.h"
#include "stopping.h"

enum { FIRST_LISTED = 500, LAST_LISTED = 504 };

/* The bit of enum lb_retry_on; 0: it has none. */
static uint32_t bit_of(uint16_t status)
{
    if (status >= FIRST_LISTED && status <= LAST_LISTED)
        return (uint32_t)LB_RETRY_500 << (status - FIRST_LISTED);
    switch (status) {
    case 403:
        return LB_RETRY_403;
    case 404:
        return LB_RETRY_404;
    case 408:
        return LB_RETRY_408;
    case 421:
        return LB_RETRY_421;
    case 425:
        return LB_RETRY_425;
    case 429:
        return LB_RETRY_429;
    default:
        return 0;
    }
}

int lb_http_is_refusal(const struct lb_exchange *exchange, uint16_t status)
{
    return (status >= 500 || status == 429) && exchange->retry_on & bit_of(status);
}

/* Retry-After in seconds (RFC 9110 10.2.3); 0: none, or a date, which no clock of ours is sure to agree with. */
static uint16_t asked_pause_s(const struct lb_l7 *l7, const char *bytes)
{
    const struct lb_field *field = lb_field_find(&l7->message, bytes, "retry-after", 11);
    uint32_t seconds = 0;
    if (!field)
        return 0;
    for (uint32_t i = 0; i < field->value.length; i++) {
        char digit = bytes[field->value.at + i];
        if (digit < '0' || digit > '9')
            return 0;
        seconds = seconds * 10 + (uint32_t)(digit - '0');
        seconds = seconds < UINT16_MAX ? seconds : UINT16_MAX;
    }
    return (uint16_t)seconds;
}

/* The backend of a response that is one of retry_on, or not, is treated accordingly. */
static void note(struct lb_l7 *l7, const struct lb_exchange *exchange, uint16_t status, uint16_t pause_s)
{
    struct lb_worker_context *ctx = l7->ctx;
    uint32_t pause_ms = pause_s < LB_AVOID_MOST_MS / 1000 ? pause_s * 1000u : LB_AVOID_MOST_MS;
    struct lb_backend_health *health = lb_report_of(ctx, exchange->backend);
    if (!lb_http_is_refusal(exchange, status)) {
        lb_avoid_served(health, exchange->sent_us);
        return;
    }
    ctx->trial_failed =
        (uint8_t)lb_avoid_refused(&ctx->shm, ctx->worker, exchange->pool, exchange->backend, ctx->now_us, pause_ms);
}

/* Is the whole of it there that was sent, and has its client got nothing that a second response would not fit behind? Whoever has logged in on a
 * connection is known on that one alone. */
static int may_leave(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    if (!(exchange->replayable || exchange->kept) || !lb_http_may_come_back(exchange) || lb_http_is_answered(exchange))
        return 0;
    return exchange->conn == LB_SLAB_NONE || !lb_http_conn(l7, exchange)->login;
}

/* Read the response again: another head took its place. */
static void back_to_response(struct lb_l7 *l7, const struct lb_exchange *exchange, const char *bytes, uint32_t count)
{
    static const struct lb_head_limits limits = {LB_MOST_HEAD, LB_MOST_HEAD, LB_FIELD_ROOM}; /* it has passed the pool's */
    if (lb_message_response(&l7->message, bytes, count, &limits, (enum lb_method)exchange->method) != LB_READ_DONE)
        __builtin_trap(); /* the same bytes were read well before */
}

/* What came of it is told of its backend as of any response. */
static void account(struct lb_l7 *l7, struct lb_exchange *exchange, uint32_t backend, uint16_t status)
{
    if (lb_http_is_refusal(exchange, status))
        lb_report_failed(l7->ctx, exchange->pool, backend, status);
    else
        lb_report_responded(l7->ctx, backend, (uint32_t)l7->ctx->now_us - exchange->sent_us);
}

struct lb_verdict lb_http_elsewhere(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes)
{
    uint16_t status = l7->message.head.status;
    uint16_t pause_s = exchange->retry_on & bit_of(status) ? asked_pause_s(l7, bytes) : 0;
    uint32_t head = l7->message.head.bytes, decision = exchange->decision;
    int says_close = !l7->message.persistent;
    note(l7, exchange, status, pause_s);
    if (!(exchange->retry_on & bit_of(status)) || !may_leave(l7, exchange)) {
        l7->ctx->trial_failed = 0;
        return lb_verdict(LB_NEXT_WAIT);
    }
    exchange->status = status;
    lb_http_pass_over(exchange);
    uint32_t backend = lb_http_pick_another(l7, exchange);
    if (backend == LB_NONE) {
        exchange->decision = decision;
        back_to_response(l7, exchange, bytes, head);
        return lb_verdict(LB_NEXT_WAIT);
    }
    exchange->refused = status;
    exchange->pause_s = pause_s;
    account(l7, exchange, exchange->backend, status);
    lb_http_note_habit(l7, exchange, status, says_close);
    lb_add(&l7->ctx->row->responses_retried, 1);
    return lb_verdict_number(LB_NEXT_INSTEAD, backend);
}

/* What has come of the response belongs to nobody. */
static void forget_response(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    lb_http_drop_part(l7, exchange);
    lb_sendq_drop(l7->ctx, &exchange->up);
    exchange->response = (struct lb_body){0};
    exchange->acked = exchange->parts = 0;
    exchange->bytes_out = 0;
}

struct lb_verdict lb_http_go_elsewhere(struct lb_l7 *l7, struct lb_exchange *exchange, uint32_t backend)
{
    int whole = lb_http_has_asked_all(exchange) && exchange->response.whole;
    lb_http_change_backend(l7, exchange, !whole ? LB_CONN_CUT : exchange->conn_keeps ? LB_CONN_KEEP : LB_CONN_PART);
    forget_response(l7, exchange);
    lb_http_recall(l7, exchange);
    return lb_http_attempt_with(l7, exchange, backend);
}
