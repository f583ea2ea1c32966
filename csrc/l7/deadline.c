#include "deadline.h"

#include <errno.h>

#include "auth_request.h"
#include "awaits.h"
#include "belongs.h"
#include "elsewhere.h"
#include "hedge.h"
#include "held_route.h"
#include "min_rate.h"
#include "stage.h"
#include "stopping.h"

/* Whom we wait for, and for how long. Each exchange has one timer, that is hardly ever moved: it never fires too late, and that it fires too
 * early costs a look. The next exchange in the same place finds it set. Two clocks: since_ms, when anything last moved, and asked_ms, when the request did. What a backend sends before
 * its final head moves only the first, so that neither a head that drips nor interim responses without end put off response_timeout. */

enum { CALL_SLACK_MS = 500 };

static uint32_t exchange_limit_ms(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    switch (lb_http_awaits(exchange)) {
    case LB_AWAITS_SENDER:
    case LB_AWAITS_TAKER:
        return lb_http_listener(l7, exchange)->body_timeout_ms;
    case LB_AWAITS_UPLOAD:
        return lb_http_pool(l7, exchange)->send_timeout_ms;
    case LB_AWAITS_HEAD:
        return lb_http_response_timeout_ms(l7, exchange);
    case LB_AWAITS_BODY:
        return lb_http_listener(l7, exchange)->idle_timeout_ms;
    }
    return 0;
}

static uint32_t limit_ms(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    switch ((enum lb_exchange_state)exchange->state) {
    case LB_EXCHANGE_BEGUN:
        return UINT32_MAX; /* it does not stay so */
    case LB_EXCHANGE_QUEUED:
        return lb_http_pool(l7, exchange)->queue_timeout_ms;
    case LB_EXCHANGE_CONNECTING:
        return lb_http_pool(l7, exchange)->connect_timeout_ms;
    case LB_EXCHANGE_FORWARDING:
        return exchange_limit_ms(l7, exchange);
    case LB_EXCHANGE_RESPONDING:
    case LB_EXCHANGE_READING:
        return lb_http_listener(l7, exchange)->body_timeout_ms;
    case LB_EXCHANGE_ASKING:
        return lb_twin_limit_ms(l7, exchange);
    }
    return 0;
}

static uint32_t since_ms(const struct lb_exchange *exchange)
{
    if (exchange->state != LB_EXCHANGE_FORWARDING || exchange->stage != LB_RESPONSE_AWAITED ||
        lb_http_awaits(exchange) == LB_AWAITS_TAKER)
        return exchange->since_ms;
    return exchange->asked_ms;
}

/* How long does its client still wait for it, as grpc-timeout says? Clients are to be first: their RST_STREAM comes later than that. */
static uint64_t call_left_ms(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    if (!exchange->grpc_ms || exchange->state == LB_EXCHANGE_RESPONDING)
        return UINT64_MAX;
    uint64_t passed_ms = (l7->ctx->now_us - exchange->began_us) / 1000, limit_ms = (uint64_t)exchange->grpc_ms + CALL_SLACK_MS;
    return limit_ms > passed_ms ? limit_ms - passed_ms : 0;
}

/* How long does its route still give the whole of it? Another protocol that it carries is no exchange any more. */
static uint64_t total_left_ms(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    uint64_t limit_ms = lb_http_total_timeout_ms(l7, exchange);
    if (!limit_ms || exchange->state == LB_EXCHANGE_RESPONDING || exchange->tunnel)
        return UINT64_MAX;
    uint64_t passed_ms = (l7->ctx->now_us - exchange->began_us) / 1000;
    return limit_ms > passed_ms ? limit_ms - passed_ms : 0;
}

static uint64_t sooner_ms(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How long may it still be as it is? */
static uint64_t left_ms(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    uint64_t left = lb_left_ms(l7->ctx, since_ms(exchange), limit_ms(l7, exchange));
    return sooner_ms(left, sooner_ms(call_left_ms(l7, exchange), total_left_ms(l7, exchange)));
}

static struct lb_look look_of(const struct lb_l7 *l7, struct lb_exchange *exchange)
{
    return (struct lb_look){
        .side = {exchange->stream[LB_CLIENT].side, exchange->stream[LB_BACKEND].side},
        .now_ms = (uint32_t)lb_now_ms(l7->ctx),
        .moved_ms = exchange->since_ms,
        .timeout_ms = lb_http_pool(l7, exchange)->user_timeout_ms,
    };
}

static void fire_in(struct lb_l7 *l7, struct lb_exchange *exchange, uint64_t ms)
{
    lb_timer_set_within(&l7->exchange_wheel, &exchange->timer, lb_now_ms(l7->ctx) + ms);
}

void lb_http_rearm(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    uint64_t ms = left_ms(l7, exchange);
    if (exchange->state == LB_EXCHANGE_FORWARDING) {
        struct lb_look look = look_of(l7, exchange);
        uint32_t look_ms = lb_peers_next_ms(&look, limit_ms(l7, exchange));
        ms = look_ms < ms ? look_ms : ms;
        uint32_t quiet_ms = lb_http_quiet_left_ms(l7, exchange);
        ms = quiet_ms < ms ? quiet_ms : ms;
        uint32_t hedge_ms = exchange->hedging ? lb_hedge_left_ms(l7, exchange) : UINT32_MAX;
        ms = hedge_ms < ms ? hedge_ms : ms;
    }
    fire_in(l7, exchange, ms);
}

/* --- too late ------------------------------------------------------------------------------------------------------- */

static struct lb_verdict backend_is_late(struct lb_l7 *l7, const char *why)
{
    lb_add(&l7->ctx->row->response_timeouts, 1);
    return lb_verdict_lost(504, why);
}

static struct lb_verdict exchange_timeout(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    int begun = exchange->stage != LB_RESPONSE_AWAITED;
    switch (lb_http_awaits(exchange)) {
    case LB_AWAITS_TAKER:
        return lb_verdict_end(LB_ENDED_IDLE);
    case LB_AWAITS_SENDER:
        return begun ? lb_verdict_end(LB_ENDED_IDLE) : lb_verdict_respond(408, "the request did not come in time");
    case LB_AWAITS_UPLOAD:
        return begun ? lb_verdict_end(LB_ENDED_BACKEND) : backend_is_late(l7, "the backend did not take the request in time");
    case LB_AWAITS_HEAD:
        return backend_is_late(l7, "the backend did not answer in time");
    case LB_AWAITS_BODY:
        return lb_verdict_end(exchange->tunnel ? LB_ENDED_IDLE : LB_ENDED_BACKEND);
    }
    return lb_verdict(LB_NEXT_WAIT);
}

/* Its client does not wait any more, and is told DEADLINE_EXCEEDED, should it. */
static struct lb_verdict overdue(struct lb_exchange *exchange)
{
    exchange->overdue = 1;
    if (lb_http_is_answered(exchange))
        return lb_verdict_end(LB_ENDED_IDLE);
    return lb_verdict_respond(504, "the deadline of the call has passed");
}

/* Its route gives it no more time. A backend that has had the request for most of that time is late, and who waits for it is not. */
static struct lb_verdict out_of_time(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    static const char why[] = "the request took longer than its route allows";
    lb_add(&l7->ctx->row->requests_overdue, 1);
    if (lb_http_is_answered(exchange))
        return lb_verdict_end(LB_ENDED_OVERDUE);
    uint32_t asked_for_ms = (uint32_t)lb_now_ms(l7->ctx) - exchange->asked_ms;
    int is_late = exchange->state == LB_EXCHANGE_FORWARDING && lb_http_awaits(exchange) == LB_AWAITS_HEAD &&
                  asked_for_ms >= lb_http_total_timeout_ms(l7, exchange) / 2;
    exchange->overdue = 1;
    return is_late ? backend_is_late(l7, why) : lb_verdict_respond(504, why);
}

static struct lb_verdict timed_out(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (!call_left_ms(l7, exchange))
        return overdue(exchange);
    if (!total_left_ms(l7, exchange))
        return out_of_time(l7, exchange);
    switch ((enum lb_exchange_state)exchange->state) {
    case LB_EXCHANGE_BEGUN:
        break;
    case LB_EXCHANGE_QUEUED:
        return lb_http_refused(
            exchange, lb_verdict_error(503, lb_http_pool(l7, exchange)->outage ? LB_ERROR_NO_BACKEND : LB_ERROR_QUEUE_TIMEOUT,
                                       "no backend could take the request in time"));
    case LB_EXCHANGE_CONNECTING:
        return lb_verdict_number(LB_NEXT_FAILED, ETIMEDOUT);
    case LB_EXCHANGE_FORWARDING:
        return exchange_timeout(l7, exchange);
    case LB_EXCHANGE_RESPONDING:
        return lb_verdict_end(LB_ENDED_IDLE);
    case LB_EXCHANGE_READING:
        return lb_verdict_respond(408, "the request did not come in time");
    case LB_EXCHANGE_ASKING:
        return lb_auth_late(l7, exchange);
    }
    return lb_verdict(LB_NEXT_WAIT);
}

/* See to both peers: LB_NEXT_WAIT, unless one is dead. */
static struct lb_verdict look_at_peers(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_look look = look_of(l7, exchange);
    enum lb_peers_verdict found = lb_peers_look(&exchange->peers, &look);
    if (look.took[0] || look.took[1])
        exchange->since_ms = lb_later_ms(exchange->since_ms, look.took[0] ? look.acked_ms[0] : look.acked_ms[1]);
    if (look.took[1]) /* the request moves on, though slowly */
        exchange->asked_ms = lb_later_ms(exchange->asked_ms, look.acked_ms[1]);
    switch (found) {
    case LB_PEERS_LIVE:
        fire_in(l7, exchange, lb_peers_next_ms(&look, limit_ms(l7, exchange)));
        return lb_verdict(LB_NEXT_WAIT);
    case LB_CLIENT_IS_DEAD:
        return lb_verdict_end(LB_ENDED_CLIENT);
    case LB_BACKEND_IS_DEAD:
        return lb_verdict_lost(502, "the backend does not acknowledge anything any more");
    }
    return lb_verdict(LB_NEXT_WAIT);
}

struct lb_verdict lb_http_fire(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_verdict peers = exchange->state == LB_EXCHANGE_FORWARDING ? look_at_peers(l7, exchange) : lb_verdict(LB_NEXT_WAIT);
    if (peers.next != LB_NEXT_WAIT)
        return peers;
    if (!left_ms(l7, exchange))
        return timed_out(l7, exchange);
    if (exchange->state == LB_EXCHANGE_FORWARDING)
        lb_http_look_whether_quiet(l7, exchange);
    if (exchange->hedging && exchange->state == LB_EXCHANGE_FORWARDING && !lb_hedge_left_ms(l7, exchange))
        lb_hedge_send(l7, exchange);
    if (lb_http_is_slow(l7, exchange))
        return lb_http_too_slow(l7, exchange);
    lb_http_rearm(l7, exchange);
    return lb_verdict(LB_NEXT_WAIT);
}
