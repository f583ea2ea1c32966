/* A certificate of ours: what it says, its key, and what a client needs beside it. */
#ifndef LB_TLS_OWN_H
#define LB_TLS_OWN_H

#include "bundle.h"
#include "making.h"

struct lb_tls_own {
    X509 *certificate;
    EVP_PKEY *key;
    X509_STACK *chain;    /* what vouches for it, its issuer first; NULL: nothing */
    char *names;          /* its DNS names, in lower case, each NUL-ended */
    uint32_t names_bytes; /* 0: none */
    uint32_t staple_bytes;
    unsigned char *staple; /* an OCSP response, or NULL */
    int64_t begins_s;      /* Unix time */
    int64_t expires_s;
    int key_kind;  /* as OpenSSL numbers them */
    int stands_in; /* is shown to clients that name nobody whom we know */
};

/* The certificate at this place of the bundle: 0, or -EINVAL or -ENOMEM with the reason in words. */
__attribute__((warn_unused_result)) int lb_tls_own_read(struct lb_tls_making *making, struct lb_tls_own *own, uint32_t at);
void lb_tls_own_drop(struct lb_tls_own *own);

/* May it be shown now? */
static inline int lb_tls_own_is_valid(const struct lb_tls_own *own, int64_t now_s)
{
    return own->begins_s <= now_s && now_s < own->expires_s;
}

#endif
