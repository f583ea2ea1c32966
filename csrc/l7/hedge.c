#include "hedge.h"

#include "../l4/backend_report.h"
#include "../table/timing.h"
#include "attempt.h"
#include "belongs.h"
#include "elsewhere.h"
#include "stage.h"
#include "twin.h"

enum {
    LOOK_MS = 1000, /* so long a percentile stands */
    ENOUGH = 100,   /* responses, before there is one */
};

/* --- when --------------------------------------------------------------------------------------------------------------- */

static uint64_t count_in(const struct lb_shm *shm, uint32_t pool, uint32_t bucket)
{
    uint64_t count = 0;
    for (uint32_t section = 0, sections = lb_shm_sections(shm); section < sections; section++) {
        const struct lb_budget *budget = lb_shm_budget(shm, section, pool);
        if (budget->tenant == shm->pools[pool].tenant &&
            __atomic_load_n(&budget->timed, __ATOMIC_ACQUIRE) & 1u << LB_TIMING_RESPONSE)
            count += __atomic_load_n(&lb_shm_timing(shm, section, pool, LB_TIMING_RESPONSE)->count[bucket], __ATOMIC_RELAXED);
    }
    return count;
}

/* Of all responses that the pool's backends have given. */
static uint32_t percentile_ms(const struct lb_shm *shm, uint32_t pool, uint32_t percentile)
{
    uint64_t all = 0, below = 0;
    for (uint32_t bucket = 0; bucket < LB_TIMING_BUCKETS; bucket++)
        all += count_in(shm, pool, bucket);
    if (all < ENOUGH)
        return UINT32_MAX;
    uint32_t bucket = 0;
    for (; bucket < LB_TIMING_BUCKETS - 1; bucket++) {
        below += count_in(shm, pool, bucket);
        if (below * 100 >= all * percentile)
            break;
    }
    uint64_t ms = (lb_timing_begin_us(bucket + 1) + 999) / 1000;
    return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

static uint32_t after_ms(struct lb_l7 *l7, uint32_t pool)
{
    const struct lb_pool_row *row = &l7->ctx->shm.pools[pool];
    struct lb_hedges *hedging = &l7->hedging[pool];
    if (!row->hedge_percentile)
        return row->hedge_after_ms;
    if (!hedging->looked_ms || !lb_left_ms(l7->ctx, hedging->looked_ms, LOOK_MS)) {
        hedging->looked_ms = (uint32_t)lb_now_ms(l7->ctx) | 1;
        hedging->after_ms = percentile_ms(&l7->ctx->shm, pool, row->hedge_percentile);
    }
    return hedging->after_ms;
}

uint32_t lb_hedge_left_ms(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    if (exchange->hedging != LB_HEDGE_MAY_GO || !lb_http_has_asked_all(exchange) || !lb_http_is_silent(exchange))
        return UINT32_MAX;
    uint32_t after = after_ms(l7, exchange->pool), passed = ((uint32_t)l7->ctx->now_us - exchange->sent_us) / 1000;
    return after == UINT32_MAX ? after : passed < after ? after - passed : 0;
}

/* --- the twin ----------------------------------------------------------------------------------------------------------- */

void lb_hedge_send(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_hedges *hedging = &l7->hedging[exchange->pool];
    exchange->hedging = LB_HEDGE_NONE;
    if (exchange->conn != LB_SLAB_NONE && lb_http_conn(l7, exchange)->login)
        return;
    struct lb_twin *twin = hedging->credit >= LB_HEDGE_WHOLE ? lb_twin_take(l7, exchange, exchange->pool) : NULL;
    if (!twin) {
        lb_add(&l7->ctx->row->hedges_denied, 1);
        return;
    }
    hedging->credit -= LB_HEDGE_WHOLE;
    exchange->hedging = LB_HEDGE_IS_OUT;
    exchange->hedge = lb_http_index(l7, twin->exchange);
    twin->exchange->hedging = LB_HEDGE_TWIN;
    twin->exchange->hedge = lb_http_index(l7, exchange);
    twin->exchange->retry_on = exchange->retry_on;
    twin->exchange->tried[0] = exchange->backend;
    twin->exchange->tried_count = 1;
}

struct lb_verdict lb_hedge_begin(struct lb_l7 *l7, struct lb_exchange *twin)
{
    uint32_t backend = lb_http_pick_beside(l7, twin);
    if (backend == LB_NONE)
        return lb_verdict_end(LB_ENDED_NO_BACKEND);
    lb_add(&l7->ctx->row->hedges, 1);
    return lb_http_attempt_with(l7, twin, backend);
}

/* --- its response ------------------------------------------------------------------------------------------------------- */

#define SWAP(field) \
    do { \
        __typeof__(one->field) kept = one->field; \
        one->field = other->field; \
        other->field = kept; \
    } while (0)

/* What an exchange has of its backend. Both are charged alike. */
static void swap_backends(struct lb_l7 *l7, struct lb_exchange *one, struct lb_exchange *other)
{
    SWAP(stream[LB_BACKEND]);
    SWAP(conn);
    SWAP(backend);
    SWAP(decision);
    SWAP(sent_us);
    SWAP(reached_us);
    SWAP(since_ms);
    SWAP(asked_ms);
    SWAP(conn_keeps);
    SWAP(reused);
    SWAP(quiet);
    SWAP(deaf);
    SWAP(fresh_only);
    SWAP(turned_away);
    SWAP(only_http1);
    SWAP(response);
    SWAP(acked);
    SWAP(parts);
    SWAP(part);
    SWAP(part_end);
    SWAP(up);
    SWAP(bytes_out);
    SWAP(peers);
    one->stream[LB_BACKEND].ops->carry(l7, one);
    other->stream[LB_BACKEND].ops->carry(l7, other);
}

struct lb_exchange *lb_hedge_take_over(struct lb_l7 *l7, struct lb_exchange *twin)
{
    uint16_t status = l7->message.head.status;
    struct lb_exchange *exchange = twin->hedging == LB_HEDGE_TWIN ? lb_http_at(l7, twin->hedge) : NULL;
    if (!exchange)
        return NULL;
    if (status >= 500 || lb_http_is_refusal(twin, status)) { /* the first may do better */
        lb_report_failed(l7->ctx, twin->pool, twin->backend, status);
        return NULL;
    }
    if (exchange->state != LB_EXCHANGE_FORWARDING || !lb_http_is_silent(exchange))
        return NULL;
    exchange->hedging = LB_HEDGE_NONE;
    twin->hedging = LB_HEDGE_OVER;
    swap_backends(l7, exchange, twin);
    lb_http_pass_over(exchange);
    lb_add(&l7->ctx->row->hedges_won, 1);
    return exchange;
}
