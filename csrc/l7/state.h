/* The states of exchanges, and the moves between them. The driver's alone. */
#ifndef LB_STATE_H
#define LB_STATE_H

#include "l7.h"

/* The one place where an exchange's state changes; its timer follows. */
void lb_http_move(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_exchange_state to);

#endif
