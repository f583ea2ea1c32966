/* What is done with an exchange in each state, and what was said of one carried out: the driver of exchanges, whatever their ends speak. It
 * alone moves their states, responds for them, and ends them. */
#ifndef LB_DRIVE_H
#define LB_DRIVE_H

#include "l7.h"
#include "verdict.h"

/* One step of it, as its state has it. */
__attribute__((warn_unused_result)) struct lb_verdict lb_drive_step(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Do what was said of it, which decides something (verdict.h), and say what follows. LB_NEXT_OVER: it and its client's connection are gone.
 * After LB_NEXT_FINISH it is gone, and what follows is said of the connection. */
__attribute__((warn_unused_result)) struct lb_verdict lb_drive(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                               struct lb_verdict said);

#endif
