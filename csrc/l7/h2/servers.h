/* Connections to backends that speak HTTP/2: found, opened, shared by calls, closed. There are few a worker and backend: a new one is
 * opened when all others carry as many calls as their backend takes. */
#ifndef LB_H2_SERVERS_H
#define LB_H2_SERVERS_H

#include "server.h"
#include "../l7.h"

static inline uint32_t lb_h2_server_index(const struct lb_l7 *l7, const struct lb_h2_server *server)
{
    return lb_slab_index(&l7->servers.slab, server);
}

__attribute__((warn_unused_result)) int lb_h2_servers_open(struct lb_l7 *l7, uint32_t capacity, uint32_t calls);
void lb_h2_servers_close(struct lb_l7 *l7);

/* As lb_multiplexer has them (l7.h). */
int lb_h2_servers_join(struct lb_l7 *l7, struct lb_exchange *exchange);
int lb_h2_servers_connect(struct lb_l7 *l7, struct lb_exchange *exchange);
int lb_h2_servers_adopt(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_side *side);

/* The open call of this number, or NULL. */
struct lb_h2_call *lb_h2_call_find(const struct lb_h2_server *server, uint32_t id);

/* It is opened, by this number. */
void lb_h2_call_number(struct lb_h2_call *call, uint32_t id);

/* Its exchange has left it. */
void lb_h2_call_give(struct lb_l7 *l7, struct lb_h2_call *call);

/* Run its exchange in this turn, behind those that are to be run already. */
void lb_h2_call_ready(struct lb_l7 *l7, struct lb_h2_call *call);
void lb_h2_calls_ready(struct lb_l7 *l7, const struct lb_h2_server *server);

/* Look at it in this turn. */
void lb_h2_server_touch(struct lb_l7 *l7, struct lb_h2_server *server);

/* The first words of ours: it is connected. */
void lb_h2_server_introduce(struct lb_l7 *l7, struct lb_h2_server *server);

/* Close it. Calls that are left are ready to be told; with the last of them its place is given back. */
void lb_h2_server_close(struct lb_l7 *l7, struct lb_h2_server *server);

/* Does its backend still serve, by the rules under which it was connected? */
int lb_h2_server_is_current(const struct lb_l7 *l7, const struct lb_h2_server *server);

/* How long it may still be as it is, ms. */
uint64_t lb_h2_server_left_ms(struct lb_l7 *l7, const struct lb_h2_server *server);
void lb_h2_server_rearm(struct lb_l7 *l7, struct lb_h2_server *server);

/* Its backend ended it while nothing was under way: how long does that one keep connections? */
void lb_h2_server_learn(struct lb_l7 *l7, const struct lb_h2_server *server);

#endif
