#include "session_attempt.h"

#include <errno.h>
#include <sys/epoll.h>

#include "../core/shortage.h"
#include "../table/load.h"
#include "../table/why.h"
#include "backend_report.h"
#include "pick.h"

void lb_session_leave_backend(struct lb_worker_context *ctx, struct lb_session *session, enum lb_fate fate)
{
    if (session->backend == LB_NONE)
        return;
    lb_load_give(&ctx->shm, ctx->worker, session->pool, session->backend, session->cost);
    lb_why_end(&ctx->shm, ctx->worker, session->decision, fate, 0, ctx->now_us);
    session->backend = LB_NONE;
}

/* Pick and begin to connect: 0, or a positive errno with session->backend charged, or -1 if none is left to pick. */
static int try_backend(struct lb_worker_context *ctx, struct lb_session *session)
{
    struct lb_picked claim = {session->pool, session->cost, session->key, session->tried, session->tried_count, .datagrams = 0};
    uint32_t backend = lb_pick_backend(ctx, &claim, &session->decision);
    if (backend == LB_NONE)
        return -1;
    union lb_address to = lb_backend_address(&ctx->shm.backends[backend]);
    session->tried[session->tried_count++] = backend;
    session->backend = backend;
    session->connect_us = (uint32_t)ctx->now_us;
    lb_add(&ctx->row->connects, 1);

    int fd = lb_net_connect(&to, 0, ctx->loopback_control);
    if (fd < 0)
        return -fd;
    session->side[LB_BACKEND] = (struct lb_side){.fd = fd};
    return -lb_session_watch(ctx, session, LB_BACKEND, EPOLL_CTL_ADD);
}

/* The attempt came to this error, and the backend is left. May another one be tried? */
static int give_up_backend(struct lb_worker_context *ctx, struct lb_session *session, int error)
{
    int shortage = lb_is_shortage(error);
    if (shortage)
        lb_report_shortage(ctx, session->backend, error);
    else if (error != ECONNABORTED) /* our own cut */
        lb_report_unreachable(ctx, session->pool, session->backend, error);
    lb_side_close(&session->side[LB_BACKEND], 0);
    lb_session_leave_backend(ctx, session, shortage ? LB_FATE_SHORTAGE : LB_FATE_UNREACHABLE);
    return lb_may_retry(ctx, session->pool, error, session->tried_count, &session->shortages);
}

int lb_session_attempt(struct lb_worker_context *ctx, struct lb_session *session, int error)
{
    do {
        if (error && !give_up_backend(ctx, session, error))
            return 0;
        error = try_backend(ctx, session);
    } while (error > 0);
    return error == 0;
}
