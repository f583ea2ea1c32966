/* The driver of HTTP/2 clients: their life, their events, and the turns of their streams. */
#ifndef LB_HTTP2_H
#define LB_HTTP2_H

#include "../l4/accepted.h"
#include "h2/streams.h"
#include "verdict.h"

/* Take over a client that has agreed on it, or begins with its preface; there is a place. `first`: what has come of it already. */
void lb_h2_open(struct lb_l7 *l7, const struct lb_http_client *who, const char *first, uint32_t count);

/* An event of its socket. */
void lb_h2_event(struct lb_l7 *l7, uint32_t client, uint32_t generation, uint32_t events);

/* Go on with the exchange of a stream, after doing what was said of it. */
void lb_h2_run(struct lb_l7 *l7, struct lb_exchange *exchange);
void lb_h2_obey(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_verdict said);

/* At the end of a turn: what has come is read, streams have their turns, what is held goes out. */
void lb_h2_turn(struct lb_l7 *l7);

/* Does anybody speak it, or is something of those who did left to be given back? Else there is nothing to turn. */
static inline int lb_h2_is_spoken(const struct lb_l7 *l7)
{
    return l7->h2.clients.used || l7->h2.streams.used;
}

/* Milliseconds until the next turn is wanted; 0: at once, -1: no time is. */
int lb_h2_wait(const struct lb_l7 *l7);

/* No new requests: clients go as their streams end. limit_ms: how long they have. */
void lb_h2_drain(struct lb_l7 *l7, uint64_t limit_ms);
void lb_h2_stop(struct lb_l7 *l7);

#endif
