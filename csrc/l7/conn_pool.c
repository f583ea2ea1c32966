#include "conn_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "../core/net.h"
#include "../l4/backend_report.h"
#include "../tls/stream.h"
#include "conn_parts.h"
#include "suspect.h"

enum {
    MARGIN_MS = 2000,
    SHORTEST_MS = 50,
    OWN_MOST = 4,      /* idle ones of a client's own: enough for one whose requests go here and there */
    BURST_MS = 1000,   /* how long idle ones beyond max_idle_connections stay: a steady load takes them again sooner */
    PARTING_MS = 1000, /* how long a backend that is to close first may take */
    LOGIN_MS = 60000,  /* how long a login waits for its client where no idle connection is kept otherwise */
};

int lb_conn_pool_open(struct lb_conn_pool *pool, struct lb_worker_context *ctx, uint32_t capacity)
{
    uint32_t backends = ctx->shm.head->max_backends;
    pool->ctx = ctx;
    pool->youngest = pool->eldest = LB_SLAB_NONE;
    pool->parting = (struct lb_conn_stack)LB_CONN_STACK_EMPTY;
    lb_wheel_open(&pool->wheel, lb_now_ms(ctx));
    int error = lb_slab_open(&pool->slab, sizeof(struct lb_conn), capacity);
    if (error)
        return error;
    pool->stacks = malloc(backends * sizeof *pool->stacks);
    if (!pool->stacks)
        return -ENOMEM;
    for (uint32_t i = 0; i < backends; i++)
        pool->stacks[i] = (struct lb_conn_stack)LB_CONN_STACK_EMPTY;
    return 0;
}

void lb_conn_pool_close(struct lb_conn_pool *pool)
{
    for (uint32_t i = 0; pool->slab.memory && i < pool->slab.touched; i++)
        if (lb_conn_at(pool, i)->state != LB_CONN_FREE)
            lb_side_close(&lb_conn_at(pool, i)->side, 0);
    lb_slab_close(&pool->slab);
    free(pool->stacks);
    pool->stacks = NULL;
}

/* --- limits --------------------------------------------------------------------------------------------------------- */

static uint32_t told_or_seen_ms(const struct lb_backend_health *health)
{
    uint32_t seen = health->closes_after_ms, told = health->keeps_ms;
    return !seen ? told : !told || seen < told ? seen : told;
}

int lb_conn_keeps_none(const struct lb_conn_pool *pool, uint32_t backend)
{
    const struct lb_shm *shm = &pool->ctx->shm;
    const struct lb_pool_row *row = &shm->pools[shm->backends[backend].pool];
    return !row->backend_idle_timeout_ms || !row->max_idle_connections || lb_conn_is_distrusted(pool, backend);
}

/* How long an idle connection to a backend is kept; login: whose client has logged in on it. */
static uint32_t limit_ms_of(const struct lb_conn_pool *pool, uint32_t backend, int login)
{
    const struct lb_worker_context *ctx = pool->ctx;
    const struct lb_backend_health *health = lb_shm_health(&ctx->shm, ctx->worker, backend);
    const struct lb_backend_row *row = &ctx->shm.backends[backend];
    uint32_t backend_idle_timeout_ms = ctx->shm.pools[row->pool].backend_idle_timeout_ms;
    uint32_t known_ms = health->generation == row->generation ? told_or_seen_ms(health) : 0;
    if (login && !known_ms)
        return backend_idle_timeout_ms > LOGIN_MS ? backend_idle_timeout_ms : LOGIN_MS;
    if (!login && (!known_ms || !backend_idle_timeout_ms))
        return backend_idle_timeout_ms;
    if (known_ms >= 2 * MARGIN_MS)
        return known_ms - MARGIN_MS;
    return known_ms / 2;
}

/* Was its TLS, or that it has none, agreed on under the rules that hold now? */
static int is_as_agreed(const struct lb_conn_pool *pool, const struct lb_conn *conn, uint32_t row)
{
    const struct lb_worker_context *ctx = pool->ctx;
    if (!ctx->shm.pools[row].tls || !conn->side.tls)
        return !ctx->shm.pools[row].tls && !conn->side.tls;
    return conn->side.tls->context == lb_tls_pool(&ctx->tls, row);
}

/* Are there more idle ones to its backend than are kept for long? */
static int is_crowded(const struct lb_conn_pool *pool, const struct lb_conn *conn)
{
    const struct lb_shm *shm = &pool->ctx->shm;
    return conn->among->count > shm->pools[shm->backends[conn->backend].pool].max_idle_connections;
}

/* How long may this idle one stay, of the time that its backend would keep it? */
static uint32_t stay_ms(const struct lb_conn_pool *pool, const struct lb_conn *conn, uint32_t limit_ms)
{
    return limit_ms > BURST_MS && is_crowded(pool, conn) ? BURST_MS : limit_ms;
}

static int is_current(const struct lb_conn_pool *pool, const struct lb_conn *conn)
{
    const struct lb_backend_row *row = &pool->ctx->shm.backends[conn->backend];
    return row->generation == conn->row_generation && row->state != LB_FREE && !lb_shm_is_cut(&pool->ctx->shm, conn->backend) &&
           is_as_agreed(pool, conn, row->pool);
}

static uint32_t idle_for_ms(const struct lb_conn_pool *pool, const struct lb_conn *conn)
{
    return (uint32_t)lb_now_ms(pool->ctx) - conn->idle_ms;
}

/* How long a connection may have been idle that gets a request which may not be sent again. */
static uint32_t once_limit_ms(const struct lb_conn_pool *pool, const struct lb_conn_stack *among, uint32_t backend,
                              uint32_t limit_ms)
{
    struct lb_backend_health *health = lb_report_of(pool->ctx, backend);
    const struct lb_conn *oldest = among->count ? lb_conn_at(pool, among->oldest) : NULL;
    if (oldest && oldest->backend == backend && is_current(pool, oldest) && health->open_for_ms < idle_for_ms(pool, oldest))
        health->open_for_ms = idle_for_ms(pool, oldest);
    uint32_t proven_ms = health->open_for_ms > LB_KEPT_SURELY_MS ? health->open_for_ms : LB_KEPT_SURELY_MS;
    if (!told_or_seen_ms(health) && proven_ms < limit_ms)
        limit_ms = proven_ms;
    return limit_ms / 2 + 1;
}

/* Has the loop said all that has come on it? Events of idle connections are looked at first in a turn; what came on one that was kept
 * in this very turn, or what did not fit into the list of events, has not been told yet. */
static int is_surely_quiet(const struct lb_conn_pool *pool, const struct lb_conn *conn, enum lb_conn_use use)
{
    const struct lb_worker_context *ctx = pool->ctx;
    return use == LB_USE_REPEATABLE && !conn->side.readable && !ctx->loop.more && conn->kept_turn != (uint32_t)ctx->row->turns;
}

static int suits(const struct lb_conn *conn, uint32_t backend, enum lb_conn_use use)
{
    return conn->backend == backend && (use != LB_USE_LOGIN || conn->login) && (use != LB_USE_ONCE || !conn->shaken);
}

struct lb_conn *lb_conn_take(struct lb_conn_pool *pool, const struct lb_conn_stack *among, uint32_t backend, enum lb_conn_use use)
{
    uint32_t limit_ms = limit_ms_of(pool, backend, use == LB_USE_LOGIN);
    if (use == LB_USE_ONCE && limit_ms)
        limit_ms = once_limit_ms(pool, among, backend, limit_ms);
    if (use != LB_USE_LOGIN && lb_conn_is_distrusted(pool, backend))
        return NULL;
    for (uint32_t at = among->newest; at != LB_SLAB_NONE;) {
        struct lb_conn *conn = lb_conn_at(pool, at);
        at = conn->older;
        if (!suits(conn, backend, use))
            continue;
        if (!is_current(pool, conn)) {
            lb_conn_drop(pool, conn);
            continue;
        }
        if (idle_for_ms(pool, conn) >= limit_ms)
            return NULL; /* so are all older ones: their timers will see to them */
        lb_conn_unlink(pool, conn);
        if (is_surely_quiet(pool, conn, use))
            return conn;
        enum lb_conn_waiting waiting = lb_conn_waiting(pool, conn);
        if (waiting == LB_CONN_NOTHING)
            return conn;
        lb_add(&pool->ctx->row->connections_stale, 1);
        lb_conn_drop(pool, conn);
        if (waiting == LB_CONN_BYTES)
            return NULL;
    }
    return NULL;
}

const struct lb_conn *lb_conn_login(const struct lb_conn_pool *pool, const struct lb_conn_stack *own, uint32_t row)
{
    for (uint32_t at = own->newest; at != LB_SLAB_NONE;) {
        const struct lb_conn *conn = lb_conn_at(pool, at);
        const struct lb_backend_row *backend = &pool->ctx->shm.backends[conn->backend];
        at = conn->older;
        if (conn->login && backend->pool == row && backend->state != LB_DOWN && is_current(pool, conn) &&
            idle_for_ms(pool, conn) < limit_ms_of(pool, conn->backend, 1))
            return conn;
    }
    return NULL;
}

/* Something is short: those that only wait for their backend's end make room. */
static void hurry(struct lb_conn_pool *pool)
{
    while (pool->parting.count)
        lb_conn_close(pool, lb_conn_at(pool, pool->parting.newest), 1);
}

/* Is this a lack that an idle connection's end makes good? A source port is in TIME_WAIT for a minute first. */
static int frees_by_closing(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

int lb_conn_connect(struct lb_conn_pool *pool, uint32_t backend, uint32_t row, struct lb_conn **conn)
{
    struct lb_worker_context *ctx = pool->ctx;
    const struct lb_pool_row *limits = &ctx->shm.pools[row];
    if (pool->slab.used == pool->slab.capacity && pool->eldest != LB_SLAB_NONE)
        lb_conn_drop(pool, lb_conn_at(pool, pool->eldest));
    uint32_t index = lb_slab_take(&pool->slab);
    if (index == LB_SLAB_NONE)
        return ENOBUFS;
    struct lb_destination to;
    lb_backend_destination(&ctx->shm.backends[backend], &to);
    int fd = lb_net_connect(&to, limits->tcp_keepalive_s, ctx->loopback_control);
    if (fd == -EADDRNOTAVAIL && pool->parting.count) {
        hurry(pool);
        lb_loop_settle(&ctx->loop);
        fd = lb_net_connect(&to, limits->tcp_keepalive_s, ctx->loopback_control);
    }
    if (frees_by_closing(-fd) && pool->eldest != LB_SLAB_NONE) {
        lb_conn_drop(pool, lb_conn_at(pool, pool->eldest));
        lb_loop_settle(&ctx->loop);
        fd = lb_net_connect(&to, limits->tcp_keepalive_s, ctx->loopback_control);
    }
    *conn = lb_conn_at(pool, index);
    uint32_t generation = (*conn)->generation;
    int error =
        fd < 0 ? fd : lb_loop_attach(&ctx->loop, fd, lb_tag_of(LB_TAG_CONNECTION, index, generation), LB_ATTACH_CONNECTING);
    if (error) {
        if (fd >= 0)
            close(fd);
        lb_slab_give(&pool->slab, index);
        return -error;
    }
    **conn = (struct lb_conn){.side = {.fd = fd},
                              .generation = generation,
                              .backend = backend,
                              .row_generation = ctx->shm.backends[backend].generation,
                              .among = &pool->stacks[backend],
                              .state = LB_CONN_BUSY};
    lb_add(&ctx->row->connects, 1);
    return 0;
}

void lb_conn_bind(struct lb_conn *conn, struct lb_conn_stack *own, uint32_t version)
{
    conn->among = own;
    conn->header = (uint8_t)version;
}

void lb_conn_log_in(struct lb_conn *conn, struct lb_conn_stack *own)
{
    conn->among = own;
    conn->login = 1;
}

void lb_conn_drop_own(struct lb_conn_pool *pool, const struct lb_conn_stack *own)
{
    while (own->count)
        lb_conn_drop(pool, lb_conn_at(pool, own->newest));
}

/* A client's own are few; for a login the eldest makes room. Those of a backend are as many as the slab holds, of which those beyond
 * max_idle_connections stay for no longer than a burst. */
static int has_room(struct lb_conn_pool *pool, const struct lb_conn *conn)
{
    uint32_t most = pool->ctx->shm.pools[pool->ctx->shm.backends[conn->backend].pool].max_idle_connections;
    if (!lb_conn_is_own(conn) || conn->among->count < (most && most < OWN_MOST ? most : OWN_MOST))
        return 1;
    if (!conn->login)
        return 0;
    uint32_t at = conn->among->newest;
    while (lb_conn_at(pool, at)->older != LB_SLAB_NONE)
        at = lb_conn_at(pool, at)->older;
    lb_conn_drop(pool, lb_conn_at(pool, at));
    return 1;
}

/* The timer of an idle one never fires too late; it may fire too early. */
static void set_timer(struct lb_conn_pool *pool, struct lb_conn *conn, uint32_t limit_ms)
{
    uint64_t due_ms = lb_now_ms(pool->ctx) - idle_for_ms(pool, conn) + stay_ms(pool, conn, limit_ms);
    if (!conn->timer.next || conn->timer.due * LB_TIMER_TICK_MS > due_ms + LB_TIMER_TICK_MS)
        lb_timer_set(&pool->wheel, &conn->timer, due_ms);
}

void lb_conn_keep(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    uint32_t limit_ms = limit_ms_of(pool, conn->backend, conn->login);
    if (!limit_ms || !is_current(pool, conn) || (!conn->login && lb_conn_keeps_none(pool, conn->backend)) ||
        !has_room(pool, conn)) {
        lb_conn_part(pool, conn);
        return;
    }
    /* what comes behind a response is nobody's: it would be the next exchange's response */
    if (conn->side.hung_up || (conn->side.readable && lb_conn_waiting(pool, conn) != LB_CONN_NOTHING)) {
        lb_conn_drop(pool, conn);
        return;
    }
    conn->exchanges++;
    conn->idle_ms = (uint32_t)lb_now_ms(pool->ctx);
    conn->kept_turn = (uint32_t)pool->ctx->row->turns;
    lb_conn_link(pool, conn, LB_CONN_IDLE);
    set_timer(pool, conn, limit_ms);
}

/* Its port is free at once after a reset, which must not take along what the backend has not received yet. */
static void end_without_time_wait(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    lb_conn_close(pool, conn, lb_net_has_sent_all(conn->side.fd));
}

void lb_conn_part(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    if (conn->side.hung_up) {
        lb_conn_drop(pool, conn); /* the backend was first */
        return;
    }
    if (!conn->told || (conn->side.readable && lb_conn_waiting(pool, conn) != LB_CONN_NOTHING)) {
        end_without_time_wait(pool, conn);
        return;
    }
    conn->among = &pool->parting;
    conn->idle_ms = (uint32_t)lb_now_ms(pool->ctx);
    lb_conn_link(pool, conn, LB_CONN_PARTING);
    lb_timer_set(&pool->wheel, &conn->timer, lb_now_ms(pool->ctx) + PARTING_MS);
}

/* It kept this one for as long as we did: what was seen of it once, perhaps at its restart, is believed a little less. */
static void relent(struct lb_backend_health *health)
{
    if (health->closes_after_ms)
        health->closes_after_ms += health->closes_after_ms / 16 + 1;
}

void lb_conn_fire(void *context, struct lb_timer *timer)
{
    struct lb_conn_pool *pool = context;
    struct lb_conn *conn = (struct lb_conn *)(void *)timer;
    if (conn->state == LB_CONN_PARTING) {
        end_without_time_wait(pool, conn);
        return;
    }
    if (conn->state != LB_CONN_IDLE)
        return; /* set again when it is kept */
    uint32_t idle_ms = idle_for_ms(pool, conn), limit_ms = limit_ms_of(pool, conn->backend, conn->login);
    if (idle_ms < stay_ms(pool, conn, limit_ms)) {
        set_timer(pool, conn, limit_ms);
        return;
    }
    if (idle_ms < limit_ms) {
        end_without_time_wait(pool, conn); /* one of a burst: there may be many */
        return;
    }
    relent(lb_report_of(pool->ctx, conn->backend));
    lb_conn_drop(pool, conn);
}

/* A backend that closes idle connections: after how long? A close within moments of its response says nothing of that: the
 * backend restarts, or limits the requests of a connection. Nor does one after a 5xx: servers close behind a failed handler. */
static void health_of_end(struct lb_conn_pool *pool, const struct lb_conn *conn)
{
    struct lb_backend_health *health = lb_report_of(pool->ctx, conn->backend);
    uint32_t idle_ms = idle_for_ms(pool, conn);
    if (idle_ms >= SHORTEST_MS && !conn->shaken && (!health->closes_after_ms || idle_ms < health->closes_after_ms))
        health->closes_after_ms = idle_ms;
}

void lb_conn_idle_event(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    enum lb_conn_waiting waiting = lb_conn_waiting(pool, conn);
    if (waiting == LB_CONN_NOTHING)
        return; /* a ticket, or another word of TLS's own */
    if (conn->state == LB_CONN_PARTING && !conn->side.hung_up) {
        end_without_time_wait(pool, conn);
        return;
    }
    struct lb_conn was = *conn;
    int ended_idle = conn->state == LB_CONN_IDLE && waiting == LB_CONN_THE_END && !conn->shaken;
    uint32_t idle_ms = idle_for_ms(pool, conn);
    lb_conn_drop(pool, conn);
    if (!ended_idle)
        return;
    lb_suspect_idle_end(pool->ctx, was.backend, was.exchanges, idle_ms, was.among->count);
    health_of_end(pool, &was);
}

void lb_conn_cut(struct lb_conn_pool *pool, int all)
{
    for (uint32_t i = 0; i < pool->slab.touched; i++) {
        struct lb_conn *conn = lb_conn_at(pool, i);
        if (conn->state == LB_CONN_IDLE && (all || !is_current(pool, conn)))
            lb_conn_drop(pool, conn);
    }
}
