/* Responses before the response: 1xx. */
#ifndef LB_INTERIM_H
#define LB_INTERIM_H

#include "l7.h"

/* Pass on a 1xx, of which l7->message is the head, to a client that takes it: 0, or -1 when the client failed. */
__attribute__((warn_unused_result)) int lb_http_pass_interim(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes);

#endif
