/* Time limits of an HTTP/2 connection while no stream of it is open. With streams, time is that of their exchanges (deadline.h). */
#ifndef LB_H2_IDLE_H
#define LB_H2_IDLE_H

#include "client.h"
#include "../l7.h"

void lb_h2_rearm(struct lb_l7 *l7, struct lb_h2_client *client);

/* How long may it still be as it is? Milliseconds. */
uint64_t lb_h2_left_ms(const struct lb_l7 *l7, const struct lb_h2_client *client);

#endif
