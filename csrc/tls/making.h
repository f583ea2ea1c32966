/* A context on its way, and what is wrong with it. */
#ifndef LB_TLS_MAKING_H
#define LB_TLS_MAKING_H

#include "bundle.h"
#include "openssl.h"

struct lb_tls_context;

struct lb_tls_making {
    struct lb_tls_context *context;
    struct lb_bundle bundle;
    X509 **trusted; /* whose word on the peer is taken */
    uint32_t trusted_count;
    char *why;
    size_t room;
};

/* error, with the reason in words. */
__attribute__((format(printf, 3, 4))) int lb_tls_refuse(struct lb_tls_making *making, int error, const char *format, ...);
int lb_tls_no_memory(struct lb_tls_making *making);
const char *lb_tls_last_words(void); /* OpenSSL's */

#endif
