/* What TLS needs of a listener or a pool: certificates by name, the rules, and OpenSSL's objects for them. Made of a bundle at once
 * or not at all; shared by the connections that began under it, freed with the last of them. */
#ifndef LB_TLS_CONTEXT_H
#define LB_TLS_CONTEXT_H

#include "bundle.h"
#include "names.h"
#include "own.h"

struct lb_tls_context {
    uint32_t references;
    uint32_t kind;   /* enum lb_tls_kind */
    uint32_t verify; /* enum lb_tls_verify */
    uint32_t http;   /* a listener of mode https */
    SSL_CTX *ctx;
    uint32_t own_count;
    struct lb_tls_own *own;
    struct lb_tls_names names; /* of our certificates, by their place in own */
    unsigned char *alpn;       /* what is accepted, as in the bundle; NULL: not spoken of */
    uint32_t alpn_bytes;
    char *name; /* of a pool: what its backends' certificates must say; NULL: the host of each one's address */
};

/* 0, or -EINVAL, -ELIBACC or -ENOMEM with the reason in words. */
__attribute__((warn_unused_result)) int lb_tls_context_open(struct lb_tls_context **context, const void *bytes, size_t count,
                                                            char *why, size_t room);

static inline struct lb_tls_context *lb_tls_context_share(struct lb_tls_context *context)
{
    context->references++;
    return context;
}

/* NULL is let pass. */
void lb_tls_context_release(struct lb_tls_context *context);

/* OpenSSL's index for a connection's struct lb_tls. */
enum { LB_TLS_EX_DATA = 0 };

#endif
