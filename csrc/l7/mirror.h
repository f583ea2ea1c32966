/* A copy of some requests of a route goes to another pool, whose responses nobody gets. A request has been sent whole to its own backend before, and
 * what becomes of the copy changes nothing of that. */
#ifndef LB_MIRROR_H
#define LB_MIRROR_H

#include "l7.h"

/* All of its request has come: a copy goes, if all of it is held. */
void lb_mirror_send(struct lb_l7 *l7, struct lb_exchange *exchange);

/* The response comes before: there will be no copy. */
void lb_mirror_miss(struct lb_l7 *l7, struct lb_exchange *exchange);

#endif
