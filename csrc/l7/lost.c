#include "lost.h"

#include "../l4/backend_report.h"
#include "../l4/sendq.h"
#include "../table/budget.h"
#include "attempt.h"
#include "belongs.h"
#include "charge.h"
#include "input.h"
#include "part.h"
#include "stage.h"
#include "stopping.h"

/* The same request once more, when the connection was an old one that its backend had closed meanwhile (RFC 9112 9.3.1). A request that
 * may not be repeated is lost: for a while the backend's others do without kept connections. */
static int may_replay(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_worker_context *ctx = l7->ctx;
    if (!exchange->reused || !lb_http_is_silent(exchange))
        return 0;
    lb_add(&ctx->row->connections_stale, 1);
    if (!exchange->replayable) {
        lb_report_of(ctx, exchange->backend)->lost_ms = lb_stamp_ms(ctx);
        return 0;
    }
    if (!lb_budget_retry(&ctx->shm, ctx->worker, exchange->pool, (uint32_t)(ctx->now_us / 1000000))) {
        lb_add(&ctx->row->retries_denied, 1);
        return 0;
    }
    lb_add(&ctx->row->replays, 1);
    return 1;
}

static struct lb_verdict replay(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    exchange->fresh_only = 1;
    return lb_http_attempt_anew(l7, exchange);
}

/* A fresh connection ended before a response began: another backend gets what may be repeated. So does a call of gRPC whose connection
 * broke, where its pool says that such are repeated: the backend may have executed it before it died. */
static int may_move_on(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    if (exchange->kept && exchange->grpc)
        return lb_http_pool(l7, exchange)->repeats_lost_calls != 0;
    return !exchange->reused && exchange->replayable;
}

static void forget_request(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->in.buffer != LB_SLAB_NONE && exchange->in.start != exchange->in.next)
        lb_input_consume(l7, &exchange->in);
}

struct lb_verdict lb_http_backend_lost(struct lb_l7 *l7, struct lb_exchange *exchange, uint16_t status, const char *why)
{
    int old = exchange->reused && status == 502;
    lb_http_decided(l7, exchange, LB_ENDED_BACKEND);
    if (status == 502 && lb_http_is_silent(exchange))
        lb_http_note_lost(l7, exchange);
    if (status == 502 && may_replay(l7, exchange))
        return replay(l7, exchange);
    if (!old)
        lb_report_failed(l7->ctx, exchange->pool, exchange->backend, 0);
    if (status == 502 && !exchange->moved_on && lb_http_is_silent(exchange) && may_move_on(l7, exchange)) {
        exchange->moved_on = 1;
        lb_http_pass_over(exchange);
        return (struct lb_verdict){.next = LB_NEXT_ANOTHER, .status = status, .why = why};
    }
    lb_http_drop_part(l7, exchange);
    if (lb_http_is_answered(exchange))
        return lb_verdict_end(LB_ENDED_BACKEND);
    forget_request(l7, exchange);
    return lb_verdict_respond(status, why);
}

struct lb_verdict lb_http_backend_cut(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    int down = l7->ctx->shm.backends[exchange->backend].state == LB_DOWN;
    if (!down || exchange->state != LB_EXCHANGE_FORWARDING || lb_http_is_answered(exchange))
        return lb_verdict_end(LB_ENDED_CUT);
    lb_http_decided(l7, exchange, LB_ENDED_CUT);
    lb_http_drop_part(l7, exchange);
    forget_request(l7, exchange);
    return lb_verdict_respond(502, "the backend went down");
}
