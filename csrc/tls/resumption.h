/* Sessions with backends, to be resumed: the newest of each, under the rules and with the tenant of the row that it began with. */
#ifndef LB_TLS_RESUMPTION_H
#define LB_TLS_RESUMPTION_H

#include <stdint.h>

#include "context.h"

struct lb_tls_resumption {
    SSL_SESSION *session;           /* owned; NULL: none */
    struct lb_tls_context *context; /* shared */
    uint64_t tenant;
};

/* Keep a session, which is owned from now on. */
void lb_resumption_keep(struct lb_tls_resumption *place, SSL_SESSION *session, struct lb_tls_context *context, uint64_t tenant);

/* The one that fits, still the place's; NULL: none. */
SSL_SESSION *lb_resumption_find(struct lb_tls_resumption *place, const struct lb_tls_context *context, uint64_t tenant);
void lb_resumption_drop(struct lb_tls_resumption *place);

#endif
