#include "suspect.h"

#include "../l4/backend_report.h"
#include "../table/avoid.h"

void lb_suspect(struct lb_worker_context *ctx, uint32_t backend)
{
    (void)lb_report_of(ctx, backend);
    lb_avoid_suspect(&ctx->shm, ctx->worker, backend, ctx->now_us);
}

/* An idle connection that had carried several exchanges was closed by its backend, long before it usually is. Where others stay open it
 * is one of several processes that ends, as max_requests has it. */
void lb_suspect_idle_end(struct lb_worker_context *ctx, uint32_t backend, uint32_t exchanges, uint32_t idle_ms, uint32_t left)
{
    const struct lb_backend_health *health = lb_report_of(ctx, backend);
    uint32_t usual_ms = health->closes_after_ms;
    if (health->keeps_ms && (!usual_ms || health->keeps_ms < usual_ms))
        usual_ms = health->keeps_ms;
    if (exchanges > 1 && !left && idle_ms < (usual_ms ? usual_ms / 2 : LB_KEPT_SURELY_MS))
        lb_suspect(ctx, backend);
}
