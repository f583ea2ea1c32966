/* Which certificate a client is shown. A name may have several: with keys of several kinds, exact and with a star, old and new. Chosen in
 * each handshake, so that one that expires while it is served gives way by itself. */
#ifndef LB_TLS_CHOOSE_H
#define LB_TLS_CHOOSE_H

#include "context.h"

/* OpenSSL's callback, once it has read the client's hello. argument: the context. 1, or 0 where the handshake must end. */
int lb_tls_on_certificate(SSL *ssl, void *argument);

#endif
