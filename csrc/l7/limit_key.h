/* By what requests of a route are limited. */
#ifndef LB_LIMIT_KEY_H
#define LB_LIMIT_KEY_H

#include "l7.h"

/* The hash of the request's key (table/keys.h). bytes: where the request of l7->message lies. A request that lacks what its route names is
 * limited by its client's address. */
uint64_t lb_http_limit_key(struct lb_l7 *l7, const struct lb_exchange *exchange, const char *bytes,
                           const struct lb_route_row *route);

#endif
