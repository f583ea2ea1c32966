#include "session_attempt.h"

#include "../table/load.h"
#include "../table/why.h"
#include "attempt.h"
#include "backend_report.h"
#include "pick.h"

void lb_session_leave_backend(struct lb_worker_context *ctx, struct lb_session *session, enum lb_end why)
{
    if (session->backend == LB_NONE)
        return;
    lb_load_give(&ctx->shm, ctx->worker, session->pool, session->backend, session->cost);
    lb_why_end(&ctx->shm, ctx->worker, session->decision, why, 0, ctx->now_us);
    session->backend = LB_NONE;
}

static uint32_t pick(const struct lb_attempt *attempt)
{
    struct lb_session *session = attempt->client;
    struct lb_picked claim = {session->pool, session->cost, session->key, session->tried, session->tried_count, .datagrams = 0};
    return lb_pick_backend(attempt->ctx, &claim, &session->decision);
}

static int begin_to_connect(const struct lb_attempt *attempt)
{
    struct lb_worker_context *ctx = attempt->ctx;
    struct lb_session *session = attempt->client;
    struct lb_destination to;
    lb_backend_destination(&ctx->shm.backends[session->backend], &to);
    session->connect_us = (uint32_t)ctx->now_us;
    lb_add(&ctx->row->connects, 1);

    int fd = lb_net_connect(&to, 0, ctx->loopback_control);
    if (fd < 0)
        return -fd;
    session->side[LB_BACKEND] = (struct lb_side){.fd = fd};
    return -lb_session_watch(ctx, session, LB_BACKEND, LB_ATTACH_CONNECTING);
}

static void leave(const struct lb_attempt *attempt, enum lb_end why)
{
    struct lb_session *session = attempt->client;
    lb_side_close(&session->side[LB_BACKEND], 0);
    lb_session_leave_backend(attempt->ctx, session, why);
}

static const struct lb_attempt_ops session_ops = {.pick = pick, .connect = begin_to_connect, .leave = leave};

enum lb_end lb_session_attempt(struct lb_worker_context *ctx, struct lb_session *session, int error)
{
    struct lb_attempt attempt = {
        .ops = &session_ops,
        .ctx = ctx,
        .client = session,
        .tried = session->tried,
        .tried_count = &session->tried_count,
        .shortages = &session->shortages,
        .backend = &session->backend,
        .pool = session->pool,
    };
    return lb_attempt_next(&attempt, error, LB_NONE) == LB_ATTEMPT_BEGUN ? LB_ENDED_DONE : lb_attempt_end(&attempt);
}
