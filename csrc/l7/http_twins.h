/* Twins (twin.h), run as any client's exchange is. */
#ifndef LB_HTTP_TWINS_H
#define LB_HTTP_TWINS_H

#include "l7.h"
#include "verdict.h"

__attribute__((warn_unused_result)) int lb_twins_open(struct lb_l7 *l7);
void lb_twins_close(struct lb_l7 *l7);

void lb_twin_run(struct lb_l7 *l7, struct lb_exchange *exchange);
void lb_twin_obey(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_verdict said);

/* Those that are to run. */
void lb_twins_turn(struct lb_l7 *l7);

/* End all. */
void lb_twins_stop(struct lb_l7 *l7);

#endif
