#include "bound.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "../table/avoid.h"
#include "../table/load.h"
#include "../table/view.h"
#include "belongs.h"
#include "input.h"
#include "queue.h"
#include "request.h"

/* A client is bound to a backend by a cookie (sticky.h). It keeps it while it drains, unless the pool says otherwise, and waits for it
 * while it is full: what the client has begun is there and nowhere else. */

enum { MOST_LOOKED_AT = 8 }; /* parts of cookies, of one request */

static struct lb_wish wish_of(const struct lb_l7 *l7)
{
    return (struct lb_wish){.worker = l7->ctx->worker, .now_ms = (uint32_t)lb_now_ms(l7->ctx)};
}

/* Is it passed over after failures, and this not a trial (table/avoid.h)? */
static int passes_over(const struct lb_l7 *l7, uint32_t backend)
{
    struct lb_wish wish = wish_of(l7);
    return lb_avoid_skips(&l7->ctx->shm, &wish, backend);
}

/* May it serve clients that are bound to it? */
static int serves_bound(const struct lb_l7 *l7, uint32_t backend, const struct lb_pool_row *pool)
{
    const struct lb_backend_row *row = &l7->ctx->shm.backends[backend];
    uint32_t state = __atomic_load_n(&row->state, __ATOMIC_RELAXED);
    float cost;
    __atomic_load(&l7->ctx->shm.costs[backend], &cost, __ATOMIC_RELAXED);
    if (row->tier > lb_view_tier(&l7->ctx->shm, row->pool))
        return 0; /* a backup keeps nobody once others are back */
    if (cost < INFINITY)
        return !passes_over(l7, backend);
    uint64_t leaves_ms = __atomic_load_n(&row->leaves_ms, __ATOMIC_RELAXED);
    int drains = state == LB_DRAINING && (!leaves_ms || lb_now_ms(l7->ctx) < leaves_ms);
    return !pool->sticky_moves && (drains || (state == LB_UP && !row->weight));
}

static int is_full(const struct lb_l7 *l7, uint32_t backend, const struct lb_pool_row *pool)
{
    return pool->max_active && lb_shm_in_flight(&l7->ctx->shm, backend) >= pool->max_active;
}

int lb_http_still_waits(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    const struct lb_pool_row *pool = lb_http_pool(l7, exchange);
    const struct lb_backend_row *row = &l7->ctx->shm.backends[exchange->waits_for];
    return row->pool == exchange->pool && serves_bound(l7, exchange->waits_for, pool) && is_full(l7, exchange->waits_for, pool);
}

/* What the cookies of a request name. */
struct bonds {
    uint32_t mine[MOST_LOOKED_AT]; /* in this pool, the first first */
    uint32_t mine_count;
    uint32_t looked_at;
};

/* The backend that a part names in another pool with a cookie of this name. */
static uint32_t in_other_pool(const struct lb_l7 *l7, const struct lb_exchange *exchange, const char *part)
{
    const struct lb_shm *shm = &l7->ctx->shm;
    const uint8_t *name = lb_http_pool(l7, exchange)->sticky;
    for (uint32_t pool = 0; pool < shm->head->max_pools; pool++) {
        if (pool == exchange->pool || shm->pools[pool].state != LB_ROW_LIVE ||
            memcmp(shm->pools[pool].sticky, name, sizeof shm->pools[pool].sticky) != 0)
            continue;
        uint32_t backend = lb_sticky_read(shm, pool, part, LB_STICKY_BYTES);
        if (backend != LB_NONE)
            return backend;
    }
    return LB_NONE;
}

/* One a pool. */
static void keep_other(const struct lb_l7 *l7, struct lb_exchange *exchange, uint32_t backend)
{
    const struct lb_backend_row *rows = l7->ctx->shm.backends;
    for (unsigned i = 0; backend != LB_NONE && i < LB_STICKY_PARTS - 1; i++) {
        if (exchange->others[i] != LB_NONE && rows[exchange->others[i]].pool == rows[backend].pool)
            return;
        if (exchange->others[i] == LB_NONE) {
            exchange->others[i] = backend;
            return;
        }
    }
}

static void look_at(const struct lb_l7 *l7, struct lb_exchange *exchange, struct bonds *bonds, const char *value, uint32_t length)
{
    for (uint32_t at = 0; length - at >= LB_STICKY_BYTES && bonds->looked_at < MOST_LOOKED_AT; at += LB_STICKY_BYTES + 1) {
        if (length - at > LB_STICKY_BYTES && value[at + LB_STICKY_BYTES] != '-')
            return;
        bonds->looked_at++;
        uint32_t backend = lb_sticky_read(&l7->ctx->shm, exchange->pool, value + at, LB_STICKY_BYTES);
        if (backend != LB_NONE)
            bonds->mine[bonds->mine_count++] = backend;
        else
            keep_other(l7, exchange, in_other_pool(l7, exchange, value + at));
        if (length - at == LB_STICKY_BYTES)
            return;
    }
}

static void read_cookies(const struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, struct bonds *bonds)
{
    const char *name = (const char *)lb_http_pool(l7, exchange)->sticky;
    uint32_t length = (uint32_t)strnlen(name, sizeof lb_http_pool(l7, exchange)->sticky);
    struct lb_cookie_look look = {0, 0};
    struct lb_span value;
    memset(exchange->others, 0xff, sizeof exchange->others);
    while (bonds->looked_at < MOST_LOOKED_AT &&
           (value = lb_cookie_next(&l7->message, bytes, name, length, &look)).at != UINT32_MAX)
        look_at(l7, exchange, bonds, bytes + value.at, value.length);
}

uint32_t lb_http_bound(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    const struct lb_pool_row *pool = lb_http_pool(l7, exchange);
    const char *bytes = lb_input_at(l7, &exchange->in) + exchange->in.start;
    struct bonds bonds = {.mine_count = 0};
    read_cookies(l7, exchange, bytes, &bonds);
    exchange->secure = (uint8_t)lb_http_came_by_tls(l7, exchange, bytes);
    for (uint32_t i = 0; i < bonds.mine_count; i++) {
        uint32_t backend = bonds.mine[i];
        if (exchange->tried_count || !serves_bound(l7, backend, pool))
            continue;
        if (!is_full(l7, backend, pool) && !lb_http_is_awaited(l7, exchange, backend) &&
            lb_load_take(&l7->ctx->shm, l7->ctx->worker, exchange->pool, backend, exchange->cost)) {
            struct lb_wish wish = wish_of(l7);
            (void)lb_avoid_picked(&l7->ctx->shm, &wish, exchange->pool, backend);
            return backend;
        }
        exchange->waits_for = backend;
        return LB_NONE;
    }
    exchange->sticky_new = 1;
    return LB_NONE;
}

/* Its parts: of this exchange's backend, and what the cookie said of other pools. Where the value ends. */
static char *put_value(const struct lb_l7 *l7, const struct lb_exchange *exchange, char *to)
{
    const struct lb_shm *shm = &l7->ctx->shm;
    const uint8_t *name = lb_http_pool(l7, exchange)->sticky;
    lb_sticky_write(shm, exchange->pool, exchange->backend, to);
    to += LB_STICKY_BYTES;
    for (unsigned i = 0; i < LB_STICKY_PARTS - 1 && exchange->others[i] != LB_NONE; i++) {
        uint32_t pool = shm->backends[exchange->others[i]].pool;
        if (pool >= shm->head->max_pools || pool == exchange->pool ||
            memcmp(shm->pools[pool].sticky, name, sizeof shm->pools[pool].sticky) != 0)
            continue; /* its row has another tenant by now */
        *to++ = '-';
        lb_sticky_write(shm, pool, exchange->others[i], to);
        to += LB_STICKY_BYTES;
    }
    return to;
}

void lb_http_sticky_cookie(struct lb_l7 *l7, struct lb_exchange *exchange, char text[LB_COOKIE_BYTES])
{
    char value[LB_STICKY_PARTS * (LB_STICKY_BYTES + 1)];
    const struct lb_pool_row *pool = lb_http_pool(l7, exchange);
    int length = (int)(put_value(l7, exchange, value) - value);
    (void)snprintf(text, LB_COOKIE_BYTES, "%.63s=%.*s%.255s%s", (const char *)pool->sticky, length, value,
                   (const char *)pool->sticky_attributes, exchange->secure || pool->sticky_secure ? "; Secure" : "");
}
