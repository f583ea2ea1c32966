/* Clients that a cookie binds to a backend. */
#ifndef LB_BOUND_H
#define LB_BOUND_H

#include "l7.h"

enum { LB_COOKIE_BYTES = 576 };

/* The backend that the client's cookie binds it to, charged with this exchange. LB_NONE: there is none, or it is full, and
 * exchange->waits_for names it. l7->message is the request. */
uint32_t lb_http_bound(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Is the backend that it waits for still to be had, and full? */
int lb_http_still_waits(const struct lb_l7 *l7, const struct lb_exchange *exchange);

/* Set-Cookie for the backend of this exchange into text. */
void lb_http_sticky_cookie(struct lb_l7 *l7, struct lb_exchange *exchange, char text[LB_COOKIE_BYTES]);

#endif
