/* An exchange leaves its backend, and is counted and recorded, because it is over. Its place is given back by its client's codec, who gets
 * what came behind the request. */
#ifndef LB_FINISH_H
#define LB_FINISH_H

#include "../table/ending.h"
#include "l7.h"

/* The response is out. */
void lb_http_finish(struct lb_l7 *l7, struct lb_exchange *exchange);

/* It ends with its client, or breaks off. */
void lb_http_break_off(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_end why);

#endif
