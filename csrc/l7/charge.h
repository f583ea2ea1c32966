/* The backend that an exchange is charged to, and the connection to it. */
#ifndef LB_CHARGE_H
#define LB_CHARGE_H

#include "../table/why.h"
#include "l7.h"

/* What came of the pick of this exchange's backend; the first word counts. */
void lb_http_decided(struct lb_l7 *l7, const struct lb_exchange *exchange, enum lb_end end);

/* The connection carries this client's exchange from now on. */
void lb_http_own(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_conn *conn);

/* Leave both for another backend, which the exchange is charged with already; what came of this one is decided. */
void lb_http_change_backend(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_conn_end how);

/* Leave both, as far as there are any. */
void lb_http_leave_backend(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_conn_end how);

#endif
