/* The driver of HTTP clients: their life, their events, and what is done with each; drive.h has their exchanges. */
#ifndef LB_HTTP_H
#define LB_HTTP_H

#include "../l4/accepted.h"
#include "h1/h1.h"
#include "l7.h"
#include "verdict.h"

/* Take over a client; the caller has seen that there is room. */
void lb_http_open(struct lb_l7 *l7, const struct lb_accepted *accepted);

/* An epoll event on a client, or on a connection to a backend. */
void lb_http_event(struct lb_l7 *l7, uint32_t client, uint32_t generation, uint32_t events);
void lb_http_conn_event(struct lb_l7 *l7, uint32_t conn, uint32_t generation, uint32_t events);

/* The same, of connections that carry no exchange; others are left alone. */
void lb_http_idle_event(struct lb_l7 *l7, uint32_t conn, uint32_t generation, uint32_t events);

/* Do what was said of a client outside of its events, and go on with it. */
void lb_http_obey(struct lb_l7 *l7, struct lb_h1 *h1, struct lb_verdict said);

/* The same, said of an exchange, whatever its client speaks. */
void lb_http_obey_exchange(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_verdict said);

/* Go on with an exchange. */
void lb_http_run_exchange(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Go on with a client. */
void lb_http_run(struct lb_l7 *l7, struct lb_h1 *h1);

#endif
