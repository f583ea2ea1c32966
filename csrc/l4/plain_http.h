/* Plain HTTP where TLS is spoken. */
#ifndef LB_PLAIN_HTTP_H
#define LB_PLAIN_HTTP_H

#include "preread_lists.h"

/* Its first words are a request on a listener of mode https: 400, and what follows is not read. */
void lb_plain_http_tell(struct lb_prereads *prereads, struct lb_preread *preread, const char *bytes, uint32_t count);

/* It was told: what it still sends is thrown away, until it ends. */
void lb_plain_http_throw_away(struct lb_prereads *prereads, struct lb_preread *preread);

#endif
