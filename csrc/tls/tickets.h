/* Session tickets (RFC 5077, RFC 8446 4.6.1): sealed with keys that all workers share and the control plane changes now and then. */
#ifndef LB_TLS_TICKETS_H
#define LB_TLS_TICKETS_H

#include "bundle.h"
#include "openssl.h"

/* What the callback says of a ticket. */
enum lb_ticket {
    LB_TICKET_FAILED = -1,
    LB_TICKET_STRANGE = 0, /* no key of ours sealed it */
    LB_TICKET_GOOD = 1,
    LB_TICKET_OLD = 2, /* good, and another is to be given in its place */
};

/* Keys that nobody else has, for as long as the control plane has sent none. */
void lb_tickets_make_up(struct lb_ticket_keys *keys);

/* OpenSSL's callback (SSL_CTX_set_tlsext_ticket_key_evp_cb(3)) with the keys at hand: enum lb_ticket. */
int lb_tickets_key(const struct lb_ticket_keys *keys, unsigned char name[16], unsigned char iv[16], EVP_CIPHER_CTX *cipher,
                   EVP_MAC_CTX *mac, int sealing);

#endif
