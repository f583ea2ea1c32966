/* The socket of a TLS connection, as OpenSSL reads and writes it: a BIO of our own. */
#ifndef LB_TLS_BIO_H
#define LB_TLS_BIO_H

#include "connection.h"

/* Give tls->ssl its socket: 0, or -ENOMEM. */
__attribute__((warn_unused_result)) int lb_tls_attach(struct lb_tls *tls);

#endif
