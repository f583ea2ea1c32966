#include "stream.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/io.h"
#include "../core/slab.h"
#include "resumption.h"

enum {
    LARGEST_CERTIFICATE = 9216, /* bytes of a client's, DER: it must fit into a field of a request */
    TLS_1_3 = 0x0304,
    WIRE_ALLOWANCE =
        16384, /* bytes that may be read in a turn beside twice what came of them: KeyUpdates and one-byte records cost
                             * as much as records that carry something */
};

/* --- the socket, as OpenSSL sees it --------------------------------------------------------------------------------- */

static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static int is_tired(struct lb_tls *tls)
{
    if (tls->turn != tls->shared->turn) {
        tls->turn = tls->shared->turn;
        tls->wire = tls->plain = 0;
    }
    return tls->done && tls->wire > WIRE_ALLOWANCE + 2 * (uint64_t)tls->plain;
}

/* A read that brought less than was asked for has emptied the socket: the next one needs no call to know. */
static int on_read(BIO *bio, char *bytes, int room)
{
    struct lb_tls *tls = lb_ssl.BIO_get_data(bio);
    ssize_t got = -1;
    lb_ssl.BIO_clear_flags(bio, LB_BIO_FLAGS_RWS | LB_BIO_FLAGS_SHOULD_RETRY);
    errno = EAGAIN;
    tls->tired = !tls->drained && is_tired(tls);
    if (!tls->drained && !tls->tired)
        got = lb_recv(tls->fd, bytes, (size_t)room);
    else if (tls->tired) {
        lb_ssl.BIO_set_flags(bio, LB_BIO_FLAGS_READ | LB_BIO_FLAGS_SHOULD_RETRY);
        return -1;
    }
    tls->wire += got > 0 ? (uint32_t)got : 0;
    if (got < 0 && errno != EAGAIN) {
        tls->error = errno;
        return -1;
    }
    if (got < room && !(got > 0 && tls->hung_up))
        tls->drained = got != 0;
    if (got < 0)
        lb_ssl.BIO_set_flags(bio, LB_BIO_FLAGS_READ | LB_BIO_FLAGS_SHOULD_RETRY);
    tls->ended = got == 0;
    return (int)got;
}

static int on_write(BIO *bio, const char *bytes, int count)
{
    struct lb_tls *tls = lb_ssl.BIO_get_data(bio);
    lb_ssl.BIO_clear_flags(bio, LB_BIO_FLAGS_RWS | LB_BIO_FLAGS_SHOULD_RETRY);
    ssize_t sent = lb_send(tls->fd, bytes, (size_t)count);
    if (sent < 0 && errno == EAGAIN)
        lb_ssl.BIO_set_flags(bio, LB_BIO_FLAGS_WRITE | LB_BIO_FLAGS_SHOULD_RETRY);
    else if (sent < 0)
        tls->deaf = 1;
    return (int)sent;
}

static long on_ctrl(BIO *bio, int command, long number, void *argument)
{
    (void)number, (void)argument;
    switch (command) {
    case LB_BIO_CTRL_EOF:
        return ((struct lb_tls *)lb_ssl.BIO_get_data(bio))->ended;
    case LB_BIO_CTRL_FLUSH:
    case LB_BIO_CTRL_DUP:
        return 1;
    default:
        return 0;
    }
}

static void make_method(void)
{
    method = lb_ssl.BIO_meth_new(0x0480, "lbcore"); /* a source and sink of our own: BIO_get_new_index's range, and a type bit */
    if (!method)
        return;
    lb_ssl.BIO_meth_set_read(method, on_read);
    lb_ssl.BIO_meth_set_write(method, on_write);
    lb_ssl.BIO_meth_set_ctrl(method, on_ctrl);
}

static int attach(struct lb_tls *tls)
{
    pthread_once(&method_once, make_method);
    BIO *bio = method ? lb_ssl.BIO_new(method) : NULL;
    if (!bio)
        return -ENOMEM;
    lb_ssl.BIO_set_data(bio, tls);
    lb_ssl.BIO_set_init(bio, 1);
    lb_ssl.SSL_set_bio(tls->ssl, bio, bio);
    return lb_ssl.SSL_set_ex_data(tls->ssl, LB_TLS_EX_DATA, tls) == 1 ? 0 : -ENOMEM;
}

/* --- birth and death ------------------------------------------------------------------------------------------------ */

static struct lb_tls *begin(struct lb_tls_shared *shared, struct lb_tls_context *context, int fd)
{
    uint32_t index = lb_slab_take(shared->slab);
    if (index == LB_SLAB_NONE)
        return NULL;
    struct lb_tls *tls = lb_slab_at(shared->slab, index);
    *tls = (struct lb_tls){.shared = shared, .context = lb_tls_context_share(context), .fd = fd, .backend = UINT32_MAX};
    tls->ssl = lb_ssl.SSL_new(context->ctx);
    if (tls->ssl && attach(tls) == 0)
        return tls;
    lb_tls_free(tls);
    return NULL;
}

void lb_tls_free(struct lb_tls *tls)
{
    if (tls->ssl) {
        /* a session is not bad because its connection ended without many words */
        lb_ssl.SSL_set_shutdown(tls->ssl, LB_SSL_SENT_SHUTDOWN | LB_SSL_RECEIVED_SHUTDOWN);
        lb_ssl.SSL_free(tls->ssl);
    }
    lb_tls_context_release(tls->context);
    free(tls->certificate);
    struct lb_slab *slab = tls->shared->slab;
    lb_slab_give(slab, (uint32_t)((size_t)((const char *)tls - slab->memory) / sizeof *tls));
}

struct lb_tls *lb_tls_accept(struct lb_tls_shared *shared, struct lb_tls_context *context, int fd)
{
    struct lb_tls *tls = begin(shared, context, fd);
    if (tls)
        lb_ssl.SSL_set_accept_state(tls->ssl);
    return tls;
}

/* Whom we mean: asked for by name (an address is no server name, RFC 6066 3), and looked for in the certificate. */
static int expect(struct lb_tls *tls, const char *name)
{
    struct in6_addr ip;
    if (!name)
        return 1;
    if (inet_pton(AF_INET, name, &ip) == 1 || inet_pton(AF_INET6, name, &ip) == 1)
        return lb_ssl.X509_VERIFY_PARAM_set1_ip_asc(lb_ssl.SSL_get0_param(tls->ssl), name) == 1;
    lb_ssl.SSL_set_hostflags(tls->ssl, LB_X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return lb_ssl.SSL_ctrl(tls->ssl, LB_SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, (void *)(uintptr_t)name) == 1 &&
           lb_ssl.SSL_set1_host(tls->ssl, name) == 1;
}

struct lb_tls *lb_tls_connect(struct lb_tls_shared *shared, struct lb_tls_context *context, int fd, const char *name,
                              uint32_t backend, uint64_t tenant)
{
    struct lb_tls *tls = begin(shared, context, fd);
    if (!tls)
        return NULL;
    tls->backend = backend;
    tls->tenant = tenant;
    lb_ssl.SSL_set_connect_state(tls->ssl);
    if (!expect(tls, context->name ? context->name : name)) {
        lb_tls_free(tls);
        return NULL;
    }
    SSL_SESSION *session = NULL;
    if (backend < shared->backends)
        session = lb_resumption_find(&shared->resumption[backend], context, tenant);
    if (session)
        (void)lb_ssl.SSL_set_session(tls->ssl, session); /* else it begins anew */
    return tls;
}

int lb_tls_note(struct lb_tls *tls, int readable, int writable, int hung_up)
{
    if (readable)
        tls->drained = 0;
    tls->hung_up |= hung_up != 0;
    int waited = writable && tls->read_waits;
    if (waited)
        tls->read_waits = 0;
    return waited;
}

/* --- the handshake -------------------------------------------------------------------------------------------------- */

/* The client's certificate as RFC 9440 2.1 wants it: DER in base64. 0, or -1 when it is too large to be passed on. */
static int keep_certificate(struct lb_tls *tls)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    unsigned char der[LARGEST_CERTIFICATE], *end = der;
    X509 *certificate = lb_ssl.SSL_get1_peer_certificate(tls->ssl);
    if (!certificate)
        return 0;
    int count = lb_ssl.i2d_X509(certificate, NULL);
    if (count > 0 && count <= LARGEST_CERTIFICATE)
        count = lb_ssl.i2d_X509(certificate, &end);
    lb_ssl.X509_free(certificate);
    if (count <= 0 || count > LARGEST_CERTIFICATE || !(tls->certificate = malloc((size_t)(count + 2) / 3 * 4 + 1)))
        return -1;
    char *to = tls->certificate;
    for (int i = 0; i < count; i += 3) {
        uint32_t three =
            (uint32_t)der[i] << 16 | (i + 1 < count ? (uint32_t)der[i + 1] << 8 : 0) | (i + 2 < count ? der[i + 2] : 0);
        *to++ = digits[three >> 18];
        *to++ = digits[three >> 12 & 63];
        *to++ = (char)(i + 1 < count ? digits[three >> 6 & 63] : '=');
        *to++ = (char)(i + 2 < count ? digits[three & 63] : '=');
    }
    *to = 0;
    return 0;
}

static enum lb_tls_step shaken(struct lb_tls *tls)
{
    const struct lb_tls_context *rules = tls->context;
    int asked = rules->kind == LB_TLS_LISTENER && rules->http && rules->verify != LB_TLS_VERIFY_OFF;
    if (asked && keep_certificate(tls) < 0) {
        tls->broken = 1;
        return LB_TLS_FAILED;
    }
    tls->done = 1;
    return LB_TLS_DONE;
}

enum lb_tls_step lb_tls_shake(struct lb_tls *tls)
{
    lb_ssl.ERR_clear_error();
    int result = lb_ssl.SSL_do_handshake(tls->ssl);
    if (result == 1)
        return shaken(tls);
    switch (lb_ssl.SSL_get_error(tls->ssl, result)) {
    case LB_SSL_ERROR_WANT_READ:
    case LB_SSL_ERROR_WANT_WRITE:
        return LB_TLS_WAIT;
    default:
        tls->broken = 1;
        tls->reason = lb_ssl.ERR_peek_error();
        lb_ssl.ERR_clear_error();
        return LB_TLS_FAILED;
    }
}

int lb_tls_failure(const struct lb_tls *tls)
{
    if (tls->error)
        return tls->error;
    if (tls->ended)
        return ECONNRESET;
    int checked = tls->context->verify != LB_TLS_VERIFY_OFF; /* else OpenSSL has its opinion all the same */
    return checked && lb_ssl.SSL_get_verify_result(tls->ssl) != 0 ? EKEYREJECTED : EPROTO;
}

void lb_tls_failure_words(const struct lb_tls *tls, char *to, size_t room)
{
    enum { ALERTS_FROM = 1000, ALERTS_UNTIL = 1255, REASON_MASK = 0x7fffff };
    const unsigned long reason = tls->reason & REASON_MASK;
    const char *words = lb_ssl.ERR_reason_error_string(tls->reason);
    long checked = tls->context->verify != LB_TLS_VERIFY_OFF ? lb_ssl.SSL_get_verify_result(tls->ssl) : 0;
    if (reason == LB_SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE)
        (void)snprintf(to, room, "it shows no certificate");
    else if (checked)
        (void)snprintf(to, room, "its certificate is not accepted: %s", lb_ssl.X509_verify_cert_error_string(checked));
    else if (!tls->reason)
        (void)snprintf(to, room, "its certificate is too large to be passed on");
    else if (reason >= ALERTS_FROM && reason <= ALERTS_UNTIL)
        (void)snprintf(to, room, "it ended the handshake: %s", words ? words : "an unknown alert");
    else
        (void)snprintf(to, room, "its handshake failed: %s", words ? words : "OpenSSL does not say why");
}

/* --- bytes ---------------------------------------------------------------------------------------------------------- */

/* What a read or write came to that moved nothing: 0 for the end, else -1 with errno. */
static ssize_t silent(struct lb_tls *tls, int result, int reading)
{
    switch (lb_ssl.SSL_get_error(tls->ssl, result)) {
    case LB_SSL_ERROR_WANT_READ:
        errno = reading && tls->tired ? EBUSY : EAGAIN;
        return -1;
    case LB_SSL_ERROR_WANT_WRITE:
        tls->read_waits |= (uint8_t)reading;
        errno = EAGAIN;
        return -1;
    case LB_SSL_ERROR_ZERO_RETURN:
        if (!tls->ended || !tls->deaf)
            return 0;
        /* a socket tells an error once: a write has heard of the reset, and the read sees a mere end */
        /* fall through */
    case LB_SSL_ERROR_SYSCALL:
        if (!reading && tls->deaf) { /* its last words may be on their way */
            lb_ssl.ERR_clear_error();
            errno = EPIPE;
            return -1;
        }
        /* fall through */
    default:
        tls->broken = 1;
        lb_ssl.ERR_clear_error();
        if (!tls->error)
            tls->error = tls->ended ? ECONNRESET : EPROTO;
        errno = tls->error;
        return -1;
    }
}

static int at_most(size_t count)
{
    return count > INT_MAX ? INT_MAX : (int)count;
}

/* A read that ended with a message of TLS's own (a ticket, a KeyUpdate), with more in the socket: is there time for it? */
static int reads_on(struct lb_tls *tls, int result)
{
    return !tls->drained && !tls->tired && !tls->ended && lb_ssl.SSL_get_error(tls->ssl, result) == LB_SSL_ERROR_WANT_READ;
}

ssize_t lb_tls_recv(struct lb_tls *tls, void *bytes, size_t count, int *more)
{
    size_t total = 0;
    int got = 0;
    *more = 0;
    if (tls->broken) {
        errno = tls->error;
        return -1;
    }
    lb_ssl.ERR_clear_error();
    do {
        if (total && tls->drained && !lb_ssl.SSL_has_pending(tls->ssl))
            return (ssize_t)total;
        got = lb_ssl.SSL_read(tls->ssl, (char *)bytes + total, at_most(count - total));
        total += got > 0 ? (size_t)got : 0;
        tls->plain += got > 0 ? (uint32_t)got : 0;
    } while (total < count && (got > 0 || reads_on(tls, got)));
    if (got > 0)
        return (ssize_t)total;
    ssize_t end = silent(tls, got, 1);
    if (!total)
        return end;
    *more = end == 0 || (errno != EAGAIN && errno != EBUSY); /* what was read comes first */
    return (ssize_t)total;
}

ssize_t lb_tls_send(struct lb_tls *tls, const void *bytes, size_t count)
{
    size_t total = 0;
    if (tls->broken || tls->deaf) {
        errno = EPIPE;
        return -1;
    }
    lb_ssl.ERR_clear_error();
    while (total < count) {
        int sent = lb_ssl.SSL_write(tls->ssl, (const char *)bytes + total, at_most(count - total));
        if (sent > 0) {
            total += (size_t)sent;
            continue;
        }
        int blocked = silent(tls, sent, 0) < 0 && errno == EAGAIN;
        if (total && !tls->broken)
            return (ssize_t)total; /* of a socket that failed an event will tell, of TLS that broke none would */
        errno = blocked ? EAGAIN : EPIPE;
        return -1;
    }
    return (ssize_t)total;
}

ssize_t lb_tls_send_parts(struct lb_tls *tls, const void *a, size_t a_count, const void *b, size_t b_count)
{
    if (!b_count)
        return lb_tls_send(tls, a, a_count);
    if (a_count + b_count <= LB_TLS_RECORD) {
        memcpy(tls->shared->gather, a, a_count);
        memcpy(tls->shared->gather + a_count, b, b_count);
        return lb_tls_send(tls, tls->shared->gather, a_count + b_count);
    }
    ssize_t first = lb_tls_send(tls, a, a_count);
    if (first < 0 || (size_t)first < a_count)
        return first;
    ssize_t second = lb_tls_send(tls, b, b_count);
    if (second < 0 && tls->broken)
        return -1;
    return first + (second > 0 ? second : 0);
}

int lb_tls_finish(struct lb_tls *tls)
{
    if (tls->broken || tls->deaf || !tls->done || tls->finished)
        return 0;
    lb_ssl.ERR_clear_error();
    int result = lb_ssl.SSL_shutdown(tls->ssl);
    tls->finished = result >= 0;
    return tls->finished || silent(tls, result, 0) == 0 ? 0 : -1;
}

/* --- facts ---------------------------------------------------------------------------------------------------------- */

int lb_tls_resumed(const struct lb_tls *tls)
{
    return lb_ssl.SSL_session_reused(tls->ssl);
}

const char *lb_tls_version(const struct lb_tls *tls)
{
    return lb_ssl.SSL_get_version(tls->ssl);
}

const char *lb_tls_name(const struct lb_tls *tls)
{
    return lb_ssl.SSL_get_servername(tls->ssl, 0);
}

uint32_t lb_tls_alpn(const struct lb_tls *tls, const char **name)
{
    const unsigned char *chosen = NULL;
    unsigned int count = 0;
    lb_ssl.SSL_get0_alpn_selected(tls->ssl, &chosen, &count);
    *name = (const char *)chosen;
    return count;
}

int lb_tls_common_name(const struct lb_tls *tls, char *to, int room)
{
    X509 *certificate = lb_ssl.SSL_get1_peer_certificate(tls->ssl);
    if (!certificate)
        return 0;
    int length = lb_ssl.X509_NAME_get_text_by_NID(lb_ssl.X509_get_subject_name(certificate), LB_NID_commonName, to, room);
    lb_ssl.X509_free(certificate);
    return length > 0 ? length : 0;
}

/* --- callbacks ------------------------------------------------------------------------------------------------------ */

int lb_tls_on_ticket(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac, int sealing)
{
    const struct lb_tls *tls = lb_ssl.SSL_get_ex_data(ssl, LB_TLS_EX_DATA);
    int verdict = lb_tickets_key(&tls->shared->keys, name, iv, cipher, mac, sealing);
    /* a client of TLS 1.3 uses a ticket once (RFC 8446 C.4): it is given another each time */
    int once = !sealing && verdict == LB_TICKET_GOOD && lb_ssl.SSL_version(ssl) == TLS_1_3;
    return once ? LB_TICKET_OLD : verdict;
}

/* A backend gave us a ticket: 1, it is kept; 0, it is not. */
int lb_tls_on_session(SSL *ssl, SSL_SESSION *session)
{
    struct lb_tls *tls = lb_ssl.SSL_get_ex_data(ssl, LB_TLS_EX_DATA);
    if (tls->backend >= tls->shared->backends)
        return 0;
    lb_resumption_keep(&tls->shared->resumption[tls->backend], session, tls->context, tls->tenant);
    return 1;
}
