#include "attempt.h"

#include <errno.h>

#include "../core/shortage.h"
#include "../table/budget.h"
#include "backend_report.h"

int lb_may_retry(struct lb_worker_context *ctx, uint32_t pool, int error, uint32_t tried_count, uint8_t *shortages)
{
    if (lb_is_shortage(error)) {
        ++*shortages;
        return tried_count < LB_MAX_TRIED;
    }
    if (tried_count - *shortages > ctx->shm.pools[pool].retries || tried_count == LB_MAX_TRIED)
        return 0;
    int is_free = ctx->trial_failed; /* trials are few, and no client is to pay for one */
    ctx->trial_failed = 0;
    if (!is_free && !lb_budget_retry(&ctx->shm, ctx->worker, pool, (uint32_t)(ctx->now_us / 1000000))) {
        lb_add(&ctx->row->retries_denied, 1);
        return 0;
    }
    lb_add(&ctx->row->retries, 1);
    return 1;
}

int lb_attempt_failed(const struct lb_attempt *attempt, int error)
{
    int shortage = lb_is_shortage(error);
    if (shortage)
        lb_report_shortage(attempt->ctx, *attempt->backend, error);
    else if (error != ECONNABORTED)
        lb_report_unreachable(attempt->ctx, attempt->pool, *attempt->backend, error);
    attempt->ops->leave(attempt, shortage ? LB_ENDED_RESOURCE : LB_ENDED_UNREACHABLE);
    return lb_may_retry(attempt->ctx, attempt->pool, error, *attempt->tried_count, attempt->shortages);
}

enum lb_attempted lb_attempt_next(const struct lb_attempt *attempt, int error, uint32_t backend)
{
    const struct lb_attempt_ops *ops = attempt->ops;
    do {
        if (error && !lb_attempt_failed(attempt, error))
            return LB_ATTEMPT_SPENT;
        if (backend == LB_NONE)
            backend = ops->pick(attempt);
        if (backend == LB_NONE)
            return LB_ATTEMPT_NOBODY;
        *attempt->backend = backend;
        if (ops->reuse && ops->reuse(attempt))
            return LB_ATTEMPT_REUSED;
        attempt->tried[(*attempt->tried_count)++] = backend;
        backend = LB_NONE;
        error = ops->connect(attempt);
    } while (error);
    return LB_ATTEMPT_BEGUN;
}

enum lb_end lb_attempt_end(const struct lb_attempt *attempt)
{
    if (!*attempt->tried_count)
        return LB_ENDED_NO_BACKEND;
    return *attempt->shortages == *attempt->tried_count ? LB_ENDED_RESOURCE : LB_ENDED_UNREACHABLE;
}
