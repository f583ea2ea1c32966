/* A response's head that came in parts, or behind an interim response that the client has not taken yet. */
#ifndef LB_PART_H
#define LB_PART_H

#include "l7.h"

/* Keep bytes of a response for later, at the start of the part buffer. They may lie in it. */
void lb_http_keep_part(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, uint32_t count);

/* The same behind what is kept: lines of trailers, of which there are LB_TRAILER_BYTES at most. */
void lb_http_keep_more(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, uint32_t count);
void lb_http_drop_part(struct lb_l7 *l7, struct lb_exchange *exchange);

static inline char *lb_http_part(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    return lb_heads_at(l7->ctx, &l7->heads, exchange->part);
}

#endif
