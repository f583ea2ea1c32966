/* The driver of connections to backends that speak HTTP/2: their life, their events, and the exchanges that they carry. */
#ifndef LB_HTTP_SERVERS_H
#define LB_HTTP_SERVERS_H

#include "l7.h"

__attribute__((warn_unused_result)) int lb_http_servers_open(struct lb_l7 *l7, uint32_t capacity, uint32_t calls);

/* An epoll event on one of them. */
void lb_http_server_event(struct lb_l7 *l7, uint32_t index, uint32_t generation, uint32_t events);

/* What has come on them in this turn, and time; later in the turn what is to be sent. */
void lb_http_servers_turn(struct lb_l7 *l7);
void lb_http_servers_send(struct lb_l7 *l7);

/* Has there been any of them? While there has not, turns need not look. */
static inline int lb_http_servers_are_used(const struct lb_l7 *l7)
{
    return l7->servers.slab.touched != 0;
}

/* As lb_l7_wait. */
int lb_http_servers_wait(const struct lb_l7 *l7);

/* Close those to backends that are gone; all: every one. */
void lb_http_servers_cut(struct lb_l7 *l7, int all);

#endif
