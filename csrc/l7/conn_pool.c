#include "conn_pool.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../core/net.h"
#include "../l4/outcome.h"
#include "../tls/stream.h"

enum {
    MARGIN_MS = 2000,
    SHORTEST_MS = 50,
    OWN_MOST = 4, /* idle ones of a client's own: enough for one whose requests go here and there */
    BURST_MS = 1000, /* how long idle ones beyond max_idle_connections stay: a steady load takes them again sooner */
};

int lb_conn_pool_open(struct lb_conn_pool *pool, struct lb_plane *plane, uint32_t capacity)
{
    uint32_t backends = plane->shm.head->max_backends;
    pool->plane = plane;
    pool->youngest = pool->eldest = LB_SLAB_NONE;
    lb_wheel_open(&pool->wheel, lb_now_ms(plane));
    int error = lb_slab_open(&pool->slab, sizeof(struct lb_conn), capacity);
    if (error)
        return error;
    pool->stacks = malloc(backends * sizeof *pool->stacks);
    if (!pool->stacks)
        return -ENOMEM;
    for (uint32_t i = 0; i < backends; i++)
        pool->stacks[i] = (struct lb_conn_stack){LB_SLAB_NONE, 0};
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

static uint32_t index_of(const struct lb_conn_pool *pool, const struct lb_conn *conn)
{
    return (uint32_t)((size_t)((const char *)conn - pool->slab.memory) / sizeof *conn);
}

/* --- the lists of idle ones ----------------------------------------------------------------------------------------- */

static void link_idle(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    struct lb_conn_stack *stack = conn->among;
    uint32_t index = index_of(pool, conn);
    conn->newer = LB_SLAB_NONE;
    conn->older = stack->newest;
    if (stack->newest != LB_SLAB_NONE)
        lb_conn_at(pool, stack->newest)->newer = index;
    stack->newest = index;
    stack->count++;
    conn->younger = LB_SLAB_NONE;
    conn->elder = pool->youngest;
    if (pool->youngest != LB_SLAB_NONE)
        lb_conn_at(pool, pool->youngest)->younger = index;
    else
        pool->eldest = index;
    pool->youngest = index;
    conn->state = LB_CONN_IDLE;
    lb_add(&pool->plane->row->connections_kept, 1);
}

static void unlink_idle(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    struct lb_conn_stack *stack = conn->among;
    if (conn->newer != LB_SLAB_NONE)
        lb_conn_at(pool, conn->newer)->older = conn->older;
    else
        stack->newest = conn->older;
    if (conn->older != LB_SLAB_NONE)
        lb_conn_at(pool, conn->older)->newer = conn->newer;
    stack->count--;
    if (conn->younger != LB_SLAB_NONE)
        lb_conn_at(pool, conn->younger)->elder = conn->elder;
    else
        pool->youngest = conn->elder;
    if (conn->elder != LB_SLAB_NONE)
        lb_conn_at(pool, conn->elder)->younger = conn->younger;
    else
        pool->eldest = conn->younger;
    conn->state = LB_CONN_BUSY;
    lb_add(&pool->plane->row->connections_kept, UINT64_MAX);
}

/* --- life ----------------------------------------------------------------------------------------------------------- */

void lb_conn_forget(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    if (conn->state == LB_CONN_IDLE)
        unlink_idle(pool, conn);
    lb_timer_cancel(&conn->timer);
    conn->state = LB_CONN_FREE;
    conn->generation++;
    lb_slab_give(&pool->slab, index_of(pool, conn));
}

void lb_conn_drop(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    struct lb_side side = conn->side;
    lb_conn_forget(pool, conn);
    lb_side_close(&side, 0);
}

static uint32_t told_or_seen_ms(const struct lb_outcome *outcome)
{
    uint32_t seen = outcome->closes_after_ms, told = outcome->keeps_ms;
    return !seen ? told : !told || seen < told ? seen : told;
}

uint32_t lb_conn_limit_ms(const struct lb_conn_pool *pool, uint32_t backend)
{
    const struct lb_plane *plane = pool->plane;
    const struct lb_outcome *outcome = lb_shm_outcome(&plane->shm, plane->worker, backend);
    const struct lb_backend_row *row = &plane->shm.backends[backend];
    uint32_t backend_idle_timeout_ms = plane->shm.pools[row->pool].backend_idle_timeout_ms;
    uint32_t known_ms = outcome->generation == row->generation ? told_or_seen_ms(outcome) : 0;
    if (!known_ms || !backend_idle_timeout_ms)
        return backend_idle_timeout_ms;
    if (known_ms >= 2 * MARGIN_MS)
        return known_ms - MARGIN_MS;
    return known_ms / 2;
}

/* Was its TLS, or that it has none, agreed on under the rules that hold now? */
static int is_as_agreed(const struct lb_conn_pool *pool, const struct lb_conn *conn, uint32_t row)
{
    const struct lb_plane *plane = pool->plane;
    if (!plane->shm.pools[row].tls || !conn->side.tls)
        return !plane->shm.pools[row].tls && !conn->side.tls;
    return conn->side.tls->context == lb_tls_pool(&plane->tls, row);
}

/* Are there more idle ones to its backend than are kept for long? */
static int is_crowded(const struct lb_conn_pool *pool, const struct lb_conn *conn)
{
    const struct lb_shm *shm = &pool->plane->shm;
    return conn->among->count > shm->pools[shm->backends[conn->backend].pool].max_idle_connections;
}

/* How long may this idle one stay, of the time that its backend would keep it? */
static uint32_t stay_ms(const struct lb_conn_pool *pool, const struct lb_conn *conn, uint32_t limit_ms)
{
    return limit_ms > BURST_MS && is_crowded(pool, conn) ? BURST_MS : limit_ms;
}

static int is_current(const struct lb_conn_pool *pool, const struct lb_conn *conn)
{
    const struct lb_backend_row *row = &pool->plane->shm.backends[conn->backend];
    return row->generation == conn->row_generation && row->state != LB_GONE && row->state != LB_FREE &&
           is_as_agreed(pool, conn, row->pool);
}

static uint32_t idle_for_ms(const struct lb_conn_pool *pool, const struct lb_conn *conn)
{
    return (uint32_t)lb_now_ms(pool->plane) - conn->idle_ms;
}

struct lb_conn *lb_conn_take(struct lb_conn_pool *pool, const struct lb_conn_stack *among, uint32_t backend,
                             uint32_t fresher_ms)
{
    uint32_t limit_ms = lb_conn_limit_ms(pool, backend);
    if (fresher_ms && fresher_ms < limit_ms)
        limit_ms = fresher_ms;
    for (uint32_t at = among->newest; at != LB_SLAB_NONE;) {
        struct lb_conn *conn = lb_conn_at(pool, at);
        at = conn->older;
        if (conn->backend != backend)
            continue;
        if (!is_current(pool, conn)) {
            lb_conn_drop(pool, conn);
            continue;
        }
        if (idle_for_ms(pool, conn) >= limit_ms)
            return NULL; /* so are all older ones: their timers will see to them */
        unlink_idle(pool, conn);
        return conn;
    }
    return NULL;
}

int lb_conn_connect(struct lb_conn_pool *pool, uint32_t backend, uint32_t row, struct lb_conn **conn)
{
    struct lb_plane *plane = pool->plane;
    const struct lb_pool_row *limits = &plane->shm.pools[row];
    if (pool->slab.used == pool->slab.capacity && pool->eldest != LB_SLAB_NONE)
        lb_conn_drop(pool, lb_conn_at(pool, pool->eldest));
    uint32_t index = lb_slab_take(&pool->slab);
    if (index == LB_SLAB_NONE)
        return ENOBUFS;
    union lb_address to = lb_backend_address(&plane->shm.backends[backend]);
    int fd = lb_net_connect(&to, limits->tcp_keepalive_s, limits->user_timeout_ms, plane->loopback_control);
    if (fd == -EMFILE && pool->eldest != LB_SLAB_NONE) {
        lb_conn_drop(pool, lb_conn_at(pool, pool->eldest));
        fd = lb_net_connect(&to, limits->tcp_keepalive_s, limits->user_timeout_ms, plane->loopback_control);
    }
    *conn = lb_conn_at(pool, index);
    uint32_t generation = (*conn)->generation;
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.u64 = lb_tag_of(LB_TAG_CONNECTION, index, generation)};
    if (fd < 0 || epoll_ctl(plane->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        int error = fd < 0 ? -fd : errno;
        if (fd >= 0)
            close(fd);
        lb_slab_give(&pool->slab, index);
        return error;
    }
    **conn = (struct lb_conn){.side = {.fd = fd},
                              .generation = generation,
                              .backend = backend,
                              .row_generation = plane->shm.backends[backend].generation,
                              .among = &pool->stacks[backend],
                              .state = LB_CONN_BUSY};
    lb_add(&plane->row->connects, 1);
    return 0;
}

void lb_conn_bind(struct lb_conn *conn, struct lb_conn_stack *own, uint32_t version)
{
    conn->among = own;
    conn->header = (uint8_t)version;
}

void lb_conn_drop_own(struct lb_conn_pool *pool, const struct lb_conn_stack *own)
{
    while (own->count)
        lb_conn_drop(pool, lb_conn_at(pool, own->newest));
}

/* How many idle ones there may be where it would wait. To a backend as many as the slab holds, of which those beyond max_idle_connections
 * stay for no longer than a burst; but who wants none kept has none. */
static uint32_t most_idle(const struct lb_conn_pool *pool, const struct lb_conn *conn, uint32_t max_idle_connections)
{
    if (conn->header)
        return max_idle_connections < OWN_MOST ? max_idle_connections : OWN_MOST;
    return max_idle_connections ? pool->slab.capacity : 0;
}

/* The timer of an idle one never fires too late; it may fire too early. */
static void set_timer(struct lb_conn_pool *pool, struct lb_conn *conn, uint32_t limit_ms)
{
    uint64_t due_ms = lb_now_ms(pool->plane) - idle_for_ms(pool, conn) + stay_ms(pool, conn, limit_ms);
    if (!conn->timer.next || conn->timer.due * LB_TIMER_TICK_MS > due_ms + LB_TIMER_TICK_MS)
        lb_timer_set(&pool->wheel, &conn->timer, due_ms);
}

void lb_conn_keep(struct lb_conn_pool *pool, struct lb_conn *conn, uint32_t backend_pool)
{
    uint32_t limit_ms = lb_conn_limit_ms(pool, conn->backend);
    uint32_t most = most_idle(pool, conn, pool->plane->shm.pools[backend_pool].max_idle_connections);
    /* what comes behind an answer is nobody's: it would be the next exchange's answer */
    int surplus = conn->side.readable && !lb_side_is_silent(&conn->side);
    conn->side.readable = 0;
    if (!limit_ms || !is_current(pool, conn) || conn->side.hung_up || surplus || conn->among->count >= most) {
        lb_conn_drop(pool, conn);
        return;
    }
    conn->exchanges++;
    conn->idle_ms = (uint32_t)lb_now_ms(pool->plane);
    link_idle(pool, conn);
    set_timer(pool, conn, limit_ms);
}

/* It kept this one for as long as we did: what was seen of it once, perhaps at its restart, is believed a little less. */
static void relent(struct lb_outcome *outcome)
{
    if (outcome->closes_after_ms)
        outcome->closes_after_ms += outcome->closes_after_ms / 16 + 1;
}

void lb_conn_fire(void *context, struct lb_timer *timer)
{
    struct lb_conn_pool *pool = context;
    struct lb_conn *conn = (struct lb_conn *)(void *)timer;
    if (conn->state != LB_CONN_IDLE)
        return; /* set again when it is kept */
    uint32_t idle_ms = idle_for_ms(pool, conn), limit_ms = lb_conn_limit_ms(pool, conn->backend);
    if (idle_ms < stay_ms(pool, conn, limit_ms)) {
        set_timer(pool, conn, limit_ms);
        return;
    }
    if (idle_ms >= limit_ms)
        relent(lb_outcome_of(pool->plane, conn->backend));
    lb_conn_drop(pool, conn);
}

/* A backend that closes idle connections: after how long? A close within moments of its answer says nothing of that: the
 * backend restarts, or limits the requests of a connection. */
void lb_conn_idle_event(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    struct lb_outcome *outcome = lb_outcome_of(pool->plane, conn->backend);
    uint32_t idle_ms = idle_for_ms(pool, conn);
    if (conn->side.tls && !conn->side.hung_up && lb_side_is_silent(&conn->side))
        return; /* a ticket, or another word of TLS's own */
    if (idle_ms >= SHORTEST_MS && (!outcome->closes_after_ms || idle_ms < outcome->closes_after_ms))
        outcome->closes_after_ms = idle_ms;
    lb_conn_drop(pool, conn);
}

void lb_conn_cut(struct lb_conn_pool *pool, int all)
{
    for (uint32_t i = 0; i < pool->slab.touched; i++) {
        struct lb_conn *conn = lb_conn_at(pool, i);
        if (conn->state == LB_CONN_IDLE && (all || !is_current(pool, conn)))
            lb_conn_drop(pool, conn);
    }
}
