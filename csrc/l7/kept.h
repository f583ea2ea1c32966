/* The copy of a request that goes out while it still comes: as long as it fits where its head lies, and no response has begun, another
 * backend can be given the request. */
#ifndef LB_KEPT_H
#define LB_KEPT_H

#include <stddef.h>

#include "l7.h"

/* These bytes of an exchange's request, framed as its backend's stream takes them, go out: keep them, too, if all before them are. */
void lb_http_keep_copy(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, size_t count);

#endif
