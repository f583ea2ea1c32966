/* Certificates and keys out of PEM text (RFC 7468). */
#ifndef LB_TLS_PEM_H
#define LB_TLS_PEM_H

#include <stddef.h>
#include <stdint.h>

#include "openssl.h"

struct lb_pem {
    BIO *bio;
    int encrypted; /* a key asked for a password */
};

/* text is NUL-ended and outlives the reader. 0, or -ENOMEM. */
__attribute__((warn_unused_result)) int lb_pem_open(struct lb_pem *pem, const char *text, uint32_t length);
void lb_pem_close(struct lb_pem *pem);

/* The next certificate, the caller's to free; NULL at the end, or where the text is broken (*broken is set). */
X509 *lb_pem_certificate(struct lb_pem *pem, int *broken);

/* The first private key, or NULL. */
EVP_PKEY *lb_pem_key(struct lb_pem *pem);

#endif
