/* The route that an exchange came by, where that says more of it than which pool serves it, and what holds for the exchange by it. An
 * exchange goes on under what it began with: routes that a reload replaces stay until the last such exchange is over. */
#ifndef LB_HELD_ROUTE_H
#define LB_HELD_ROUTE_H

#include "belongs.h"

static inline void lb_http_hold_route(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_routed_to *to)
{
    if (!to->held)
        return;
    exchange->held = (uint16_t)to->held;
    exchange->era = lb_routes_hold(l7->routes);
}

static inline void lb_http_leave_route(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (!exchange->held)
        return;
    exchange->held = 0;
    lb_routes_leave(l7->routes, exchange->era);
}

/* NULL: it came by none that says more. */
static inline const struct lb_route_row *lb_http_route(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    return exchange->held ? lb_routes_held(l7->routes, exchange->era, exchange->held - 1u) : NULL;
}

/* Bytes of its request's body; 0 or UINT64_MAX: no limit. */
static inline uint64_t lb_http_max_body(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    const struct lb_route_row *route = lb_http_route(l7, exchange);
    return route && route->max_body ? route->max_body : lb_http_listener(l7, exchange)->max_body;
}

static inline uint32_t lb_http_response_timeout_ms(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    const struct lb_route_row *route = lb_http_route(l7, exchange);
    return route && route->response_timeout_ms ? route->response_timeout_ms : lb_http_pool(l7, exchange)->response_timeout_ms;
}

/* Since the request's head was whole; 0: no limit. */
static inline uint32_t lb_http_total_timeout_ms(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    const struct lb_route_row *route = lb_http_route(l7, exchange);
    return route ? route->total_timeout_ms : 0;
}

#endif
