/* One TLS connection over a socket that never waits: the handshake in steps, then bytes in and out as recv and send would have it. */
#ifndef LB_TLS_STREAM_H
#define LB_TLS_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "context.h"
#include "tickets.h"

struct lb_slab;

/* What a worker's connections share. One thread's own. */
struct lb_tls_shared {
    struct lb_slab *slab; /* of struct lb_tls */
    uint32_t turn; /* of the worker's loop: what a connection may read is counted anew in each */
    struct lb_ticket_keys keys;
    struct lb_tls_resumption *resumption; /* sessions with backends, by row */
    uint32_t backends; /* rows of it */
    char *gather; /* LB_TLS_RECORD bytes: short parts become one record */
};

enum { LB_TLS_RECORD = 16384 /* bytes of a record at most (RFC 8446 5.1) */ };

struct lb_tls {
    SSL *ssl;
    struct lb_tls_shared *shared;
    struct lb_tls_context *context;
    int fd; /* the side's; closed by it */
    int error; /* errno of what broke it; 0: nothing did */
    unsigned long reason; /* OpenSSL's, of a handshake that failed; 0: none */
    uint32_t turn; /* in which these were counted: */
    uint32_t wire; /* bytes read from the socket, and */
    uint32_t plain; /* what came of them */
    uint32_t backend; /* row, of a connection to one; UINT32_MAX: a client's */
    uint64_t tenant; /* the row's generation */
    char *certificate; /* the client's, DER in base64, NUL-ended; NULL: it showed none */
    uint8_t drained; /* the socket was seen empty: nothing is to be read before the next event */
    uint8_t hung_up; /* its end is at hand: read on until it shows */
    uint8_t ended; /* its FIN was read; with no close_notify before it, it may have been cut */
    uint8_t tired; /* too little came of too many bytes: it is read on in a later turn */
    uint8_t deaf; /* the socket takes no more; what it has to say can still be read */
    uint8_t done; /* the handshake is over */
    uint8_t broken; /* no further call but the last */
    uint8_t finished; /* close_notify is sent */
    uint8_t read_waits; /* a read waits for room to write */
};

/* A client's connection that is to begin, or one of ours to a backend; NULL when memory or a place is lacking. The context is shared;
 * the descriptor stays the caller's. name: the host that is asked for and checked, or an IP address; NULL: nobody in particular. */
struct lb_tls *lb_tls_accept(struct lb_tls_shared *shared, struct lb_tls_context *context, int fd);
struct lb_tls *lb_tls_connect(struct lb_tls_shared *shared, struct lb_tls_context *context, int fd, const char *name,
                              uint32_t backend, uint64_t tenant);
void lb_tls_free(struct lb_tls *tls);

/* What epoll says of its socket. read: true if that may let a read go on that waited. */
int lb_tls_note(struct lb_tls *tls, int readable, int writable, int hung_up);

enum lb_tls_step {
    LB_TLS_DONE,
    LB_TLS_WAIT, /* for an event */
    LB_TLS_FAILED, /* lb_tls_failure says how */
};

/* Go on with the handshake. */
__attribute__((warn_unused_result)) enum lb_tls_step lb_tls_shake(struct lb_tls *tls);

/* EKEYREJECTED: the peer's certificate is not accepted; EPROTO: the handshake failed otherwise; or what the socket said. */
int lb_tls_failure(const struct lb_tls *tls);

/* Why a client's handshake failed, in words of its certificate, of an alert that it sent, or of OpenSSL's. */
void lb_tls_failure_words(const struct lb_tls *tls, char *to, size_t room);

/* As recv and send with MSG_DONTWAIT: bytes, 0 for the end, or -1 with errno, EBUSY in a read: come again in a later turn. A short read
 * means that nothing is there, unless *more is set (the end is next) or the connection is tired. A write that was refused in part is
 * repeated with the same bytes at its start. */
ssize_t lb_tls_recv(struct lb_tls *tls, void *bytes, size_t count, int *more);
ssize_t lb_tls_send(struct lb_tls *tls, const void *bytes, size_t count);
ssize_t lb_tls_send_parts(struct lb_tls *tls, const void *a, size_t a_count, const void *b, size_t b_count);

/* Say that nothing more will be sent (close_notify, RFC 8446 6.1): 0, or -1 with errno. */
int lb_tls_finish(struct lb_tls *tls);

/* Did the peer end without saying so? Its last words may be missing. */
static inline int lb_tls_is_cut(const struct lb_tls *tls)
{
    return tls->ended;
}

/* End as the other side did, without a word. */
static inline void lb_tls_say_nothing(struct lb_tls *tls)
{
    tls->finished = 1;
}

/* Was a session resumed? Facts of the handshake; each text NULL or empty where there is none. */
int lb_tls_resumed(const struct lb_tls *tls);
const char *lb_tls_version(const struct lb_tls *tls);
const char *lb_tls_name(const struct lb_tls *tls);
uint32_t lb_tls_alpn(const struct lb_tls *tls, const char **name);
int lb_tls_common_name(const struct lb_tls *tls, char *to, int room); /* the client's: its length, or 0 */

/* OpenSSL's callbacks; see context.c. */
int lb_tls_on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing);
int lb_tls_on_session(SSL *ssl, SSL_SESSION *session);

#endif
