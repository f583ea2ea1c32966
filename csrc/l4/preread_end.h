/* How a connection that is not served yet ends, or is served. */
#ifndef LB_PREREAD_END_H
#define LB_PREREAD_END_H

#include "preread_lists.h"

/* Its place is free; its descriptor is the caller's. */
void lb_preread_let_go(struct lb_prereads *prereads, struct lb_preread *preread);

/* It is closed, and counted under refused. */
void lb_preread_refuse(struct lb_prereads *prereads, struct lb_preread *preread, enum lb_end why);

/* All is said: it is served. */
void lb_preread_hand_on(struct lb_prereads *prereads, struct lb_preread *preread);

#endif
