/* TLS towards backends: agreed on after the connect, before the first byte of a client's. */
#ifndef LB_BACKEND_TLS_H
#define LB_BACKEND_TLS_H

#include "worker_context.h"

/* Protocols of HTTP, by ALPN. */
#define LB_OFFER_HTTP1 "http/1.1"
#define LB_OFFER_ANY "h2,http/1.1"

/* Go on with the handshake of a connection to a backend of a pool, which is offered these protocols (h2,http/1.1; NULL: none is named): 0 when
 * it is over or the pool speaks none, EAGAIN while it takes, or a positive errno: ENOBUFS or ENOKEY for a shortage here, EKEYREJECTED for a certificate that is not accepted, EPROTO for a handshake that failed otherwise. */
__attribute__((warn_unused_result)) int lb_backend_tls(struct lb_worker_context *ctx, uint32_t pool, uint32_t backend,
                                                       struct lb_side *side, const char *alpn);

#endif
