/* What belongs to a client and to its exchange: rows in the table, places in slabs, the backend's connection, clocks. */
#ifndef LB_BELONGS_H
#define LB_BELONGS_H

#include "l7.h"

static inline uint32_t lb_http_index(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    return lb_slab_index(&l7->exchanges, exchange);
}

static inline struct lb_exchange *lb_http_at(const struct lb_l7 *l7, uint32_t index)
{
    return lb_slab_at(&l7->exchanges, index);
}

static inline struct lb_listener_row *lb_http_client_listener(const struct lb_l7 *l7, const struct lb_http_client *client)
{
    return &l7->ctx->shm.listeners[client->listener];
}

static inline struct lb_listener_row *lb_http_listener(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    return lb_http_client_listener(l7, exchange->client);
}

static inline struct lb_pool_row *lb_http_pool(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    return &l7->ctx->shm.pools[exchange->pool];
}

/* Of the backend that it has; "-": none. */
static inline const char *lb_http_backend_address(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    return exchange->backend == LB_NONE ? "-" : (const char *)l7->ctx->shm.backends[exchange->backend].address;
}

static inline struct lb_conn *lb_http_conn(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    return lb_conn_at(&l7->conns, exchange->conn);
}

/* Is this end ready for that (stream.h)? */
static inline int lb_http_client_can(const struct lb_exchange *exchange, unsigned what)
{
    return (exchange->stream[LB_CLIENT].ops->ready(exchange) & what) != 0;
}

static inline int lb_http_backend_can(const struct lb_exchange *exchange, unsigned what)
{
    return (exchange->stream[LB_BACKEND].ops->ready(exchange) & what) != 0;
}

/* The request is wanted again, as l7->message. */
static inline void lb_http_recall(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    exchange->stream[LB_CLIENT].ops->recall(l7, exchange);
}

/* Its body is not read for a route or a policy any more. */
static inline void lb_http_drop_reading(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->reading != LB_SLAB_NONE)
        lb_slab_give(&l7->readings, exchange->reading);
    exchange->reading = LB_SLAB_NONE;
}

/* Whose credentials it brought is forgotten. */
static inline void lb_http_drop_caller(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->caller != LB_SLAB_NONE)
        lb_slab_give(&l7->callers, exchange->caller);
    exchange->caller = LB_SLAB_NONE;
}

static inline int lb_http_has_old_routes(const struct lb_l7 *l7)
{
    return __atomic_load_n(&l7->ctx->shm.head->routes, __ATOMIC_ACQUIRE) != l7->routes_version;
}

/* Routes that were published meanwhile are in force from now on. Without the memory for them, the old ones stay. */
static inline void lb_http_follow_routes(struct lb_l7 *l7)
{
    if (lb_http_has_old_routes(l7) && lb_routes_compile(&l7->routes, &l7->ctx->shm, &l7->routes_version) < 0)
        lb_add(&l7->ctx->row->routes_refused, 1);
}

/* Did the client speak TLS, with us or with the proxy whose PROXY header says so? */
static inline int lb_http_client_spoke_tls(const struct lb_l7 *l7, const struct lb_http_client *client)
{
    const struct lb_proxy_info *proxy_info = lb_proxy_info_at(&l7->ctx->proxy_info, client->proxy_info);
    return client->side.tls || client->speaks & LB_SPEAKS_TWIN_TLS || (proxy_info && proxy_info->tls);
}

/* The balancer or the listener drains. */
static inline int lb_http_client_must_close(const struct lb_l7 *l7, const struct lb_http_client *client)
{
    return l7->draining || lb_http_client_listener(l7, client)->state != LB_ROW_LIVE;
}

/* Something happened: time counts from now. */
static inline void lb_http_moved(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    exchange->since_ms = (uint32_t)lb_now_ms(l7->ctx);
}

/* So did the request: it moved on, by its content. */
static inline void lb_http_asked(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    lb_http_moved(l7, exchange);
    exchange->asked_ms = exchange->since_ms;
}

#endif
