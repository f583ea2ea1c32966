/* The end of a client, and of its exchange. */
#ifndef LB_END_H
#define LB_END_H

#include "l7.h"
#include "verdict.h"

/* The driver's alone: counts it, gives everything back, closes. */
void lb_h1_end(struct lb_l7 *l7, struct lb_h1 *h1, enum lb_end why);

#endif
