#include "pick.h"

#include "../table/view.h"
#include "../table/why.h"

uint32_t lb_pick_backend(struct lb_worker_context *ctx, const struct lb_picked *claim, uint32_t *decision)
{
    struct lb_thought thought;
    struct lb_wish wish = {.tried = claim->tried,
                           .tried_count = claim->tried_count,
                           .worker = ctx->worker,
                           .now_ms = (uint32_t)lb_now_ms(ctx),
                           .key = claim->key,
                           .datagrams = claim->datagrams,
                           .thought = &thought};
    uint32_t backend = lb_view_acquire(&ctx->shm, claim->pool, &wish, &ctx->cursors[claim->pool], claim->cost);
    struct lb_pick picked = {ctx->now_us, ctx->worker, claim->pool, backend, claim->cost, claim->tried_count, 0, &thought};
    *decision = lb_why_note(&ctx->shm, &picked);
    return backend;
}
