#include "mirror.h"

#include "../table/budget.h"
#include "twin.h"

void lb_mirror_miss(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    exchange->mirror = 0;
    lb_add(&l7->ctx->row->mirrors_missed, 1);
}

void lb_mirror_send(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    uint32_t pool = exchange->mirror - 1u;
    int held = (exchange->replayable || exchange->kept) && l7->ctx->row->mirrors_active < LB_MIRRORS;
    struct lb_twin *twin = held ? lb_twin_take(l7, exchange, pool) : NULL;
    if (!twin) {
        lb_mirror_miss(l7, exchange);
        return;
    }
    exchange->mirror = 0;
    lb_budget_session(&l7->ctx->shm, l7->ctx->worker, pool, (uint32_t)(l7->ctx->now_us / 1000000));
    lb_add(&l7->ctx->row->mirrors, 1);
    lb_add(&l7->ctx->row->mirrors_active, 1);
}
