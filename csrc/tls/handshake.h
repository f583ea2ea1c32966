/* The handshake of a TLS connection, in steps; why it failed, and what came of it. */
#ifndef LB_TLS_HANDSHAKE_H
#define LB_TLS_HANDSHAKE_H

#include "connection.h"

enum lb_tls_step {
    LB_TLS_DONE,
    LB_TLS_WAIT,   /* for an event */
    LB_TLS_FAILED, /* lb_tls_failure says how */
};

/* Go on with the handshake. */
__attribute__((warn_unused_result)) enum lb_tls_step lb_tls_shake(struct lb_tls *tls);

/* EKEYREJECTED: the peer's certificate is not accepted; EPROTO: the handshake failed otherwise; or what the socket said. */
int lb_tls_failure(const struct lb_tls *tls);

/* Why a client's handshake failed, in words of its certificate, of an alert that it sent, or of OpenSSL's. */
void lb_tls_failure_words(const struct lb_tls *tls, char *to, size_t room);

/* Was a session resumed? Facts of the handshake; each text NULL or empty where there is none. */
int lb_tls_resumed(const struct lb_tls *tls);
const char *lb_tls_version(const struct lb_tls *tls);
const char *lb_tls_name(const struct lb_tls *tls);
uint32_t lb_tls_alpn(const struct lb_tls *tls, const char **name);
int lb_tls_agreed_on(const struct lb_tls *tls, const char *protocol);
int lb_tls_common_name(const struct lb_tls *tls, char *to, int room); /* the client's: its length, or 0 */

/* OpenSSL's callbacks; see context_open.c. */
int lb_tls_on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing);
int lb_tls_on_session(SSL *ssl, SSL_SESSION *session);

#endif
