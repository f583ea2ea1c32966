/* What belongs to a client: its rows in the table, its place in the slab, its backend's connection, its clocks. */
#ifndef LB_BELONGS_H
#define LB_BELONGS_H

#include "l7.h"

static inline struct lb_listener_row *lb_http_listener(const struct lb_l7 *l7, const struct lb_http *client)
{
    return &l7->ctx->shm.listeners[client->listener];
}

static inline struct lb_pool_row *lb_http_pool(const struct lb_l7 *l7, const struct lb_http *client)
{
    return &l7->ctx->shm.pools[client->pool];
}

static inline uint32_t lb_http_index(const struct lb_l7 *l7, const struct lb_http *client)
{
    return (uint32_t)((size_t)((const char *)client - l7->clients.memory) / sizeof *client);
}

static inline struct lb_conn *lb_http_conn(const struct lb_l7 *l7, const struct lb_http *client)
{
    return lb_conn_at(&l7->conns, client->conn);
}

/* Did the client speak TLS, with us or with the proxy whose PROXY header says so? */
static inline int lb_http_spoke_tls(const struct lb_l7 *l7, const struct lb_http *client)
{
    const struct lb_proxy_info *proxy_info = lb_proxy_info_at(&l7->ctx->proxy_info, client->proxy_info);
    return client->client.tls || (proxy_info && proxy_info->tls);
}

/* The balancer or the listener drains. */
static inline int lb_http_must_close(const struct lb_l7 *l7, const struct lb_http *client)
{
    return l7->draining || lb_http_listener(l7, client)->state != LB_ROW_LIVE;
}

/* Something happened: time counts from now. */
static inline void lb_http_moved(struct lb_l7 *l7, struct lb_http *client)
{
    client->since_ms = (uint32_t)lb_now_ms(l7->ctx);
}

/* So did the request: it moved on, by its content. */
static inline void lb_http_asked(struct lb_l7 *l7, struct lb_http *client)
{
    lb_http_moved(l7, client);
    client->asked_ms = client->since_ms;
}

#endif
