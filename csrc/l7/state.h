/* The states of clients and of exchanges, and the moves between them. The driver's alone. */
#ifndef LB_STATE_H
#define LB_STATE_H

#include "l7.h"

/* The one place where a client's state changes; its timer follows. */
void lb_h1_move(struct lb_l7 *l7, struct lb_h1 *h1, enum lb_h1_state to);

/* The same of an exchange. */
void lb_http_move(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_exchange_state to);

#endif
