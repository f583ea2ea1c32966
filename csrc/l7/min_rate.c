#include "min_rate.h"

#include "belongs.h"
#include "stage.h"

/* A client is to send or take min_body_rate over each body_timeout in which nobody but it was waited for. The figures are looked at when
 * its timer fires, so a byte costs nothing more; whoever else is waited for in between excuses it. */

static enum lb_rated waited_for(const struct lb_exchange *exchange)
{
    if (exchange->state == LB_EXCHANGE_READING)
        return LB_RATE_SENDER;
    if (exchange->state != LB_EXCHANGE_FORWARDING || exchange->tunnel)
        return LB_RATE_NOBODY;
    if (!exchange->request.whole)
        return exchange->up.pending || exchange->expects || exchange->grpc ? LB_RATE_NOBODY : LB_RATE_SENDER;
    return exchange->down.pending ? LB_RATE_TAKER : LB_RATE_NOBODY;
}

/* Only differences mean anything: a response's head is written anew, and may be longer than what came. */
static uint64_t done_by(const struct lb_exchange *exchange, enum lb_rated pace)
{
    return pace == LB_RATE_SENDER ? exchange->bytes_in : exchange->bytes_out - exchange->down.pending;
}

static void count_from_now(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_rated pace)
{
    exchange->rated = (uint8_t)pace;
    exchange->rated_ms = (uint32_t)lb_now_ms(l7->ctx);
    exchange->rated_bytes = done_by(exchange, pace);
}

void lb_http_rate_sender(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    count_from_now(l7, exchange, LB_RATE_SENDER);
}

int lb_http_is_slow(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    const struct lb_listener_row *listener = lb_http_listener(l7, exchange);
    uint64_t now_ms = lb_now_ms(l7->ctx), span_ms = listener->body_timeout_ms;
    enum lb_rated pace = listener->min_body_rate ? waited_for(exchange) : LB_RATE_NOBODY;
    uint32_t passed_ms = (uint32_t)now_ms - exchange->rated_ms;
    int known = pace != LB_RATE_NOBODY && pace == exchange->rated;
    if (known && passed_ms >= span_ms &&
        (done_by(exchange, pace) - exchange->rated_bytes) * 1000 < listener->min_body_rate * span_ms)
        return 1;
    if (!known || passed_ms >= span_ms) {
        count_from_now(l7, exchange, pace);
        passed_ms = 0;
    }
    if (pace != LB_RATE_NOBODY)
        lb_timer_set(&l7->exchange_wheel, &exchange->timer, now_ms + span_ms - passed_ms);
    return 0;
}

struct lb_verdict lb_http_too_slow(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->rated == LB_RATE_TAKER || lb_http_is_answered(exchange))
        return lb_verdict_end(LB_ENDED_SLOW);
    lb_add(&l7->ctx->row->requests_slow, 1);
    return lb_verdict_respond(408, "the request comes too slowly");
}
