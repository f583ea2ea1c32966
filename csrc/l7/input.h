/* What a client sent and is not done with: a head buffer (heads.h), held only while there is something in it. */
#ifndef LB_INPUT_H
#define LB_INPUT_H

#include "belongs.h"

/* The buffer's first byte. */
static inline char *lb_http_in(const struct lb_l7 *l7, const struct lb_http *client)
{
    return lb_heads_at(l7->ctx, &l7->heads, client->in);
}

/* Has a request begun to come? An empty line before one is forgiven (RFC 9112 2.2), and by itself asks for nothing. */
int lb_http_has_begun(const struct lb_l7 *l7, const struct lb_http *client);

/* The request under way, read again from the buffer into l7->message. */
void lb_http_reread(struct lb_l7 *l7, struct lb_http *client);

/* Its bytes are not needed any more. */
void lb_http_consume(struct lb_l7 *l7, struct lb_http *client);

/* Make room behind what is there; without a buffer, take one. */
void lb_http_pack(struct lb_l7 *l7, struct lb_http *client);

/* Give the buffer back, whatever is in it. */
void lb_http_drop_in(struct lb_l7 *l7, struct lb_http *client);

#endif
