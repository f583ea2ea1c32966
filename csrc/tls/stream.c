#include "stream.h"

#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "../core/slab.h"
#include "bio.h"
#include "resumption.h"

/* --- birth and death ------------------------------------------------------------------------------------------------ */

static struct lb_tls *begin(struct lb_tls_shared *shared, struct lb_tls_context *context, int fd)
{
    uint32_t index = lb_slab_take(shared->slab);
    if (index == LB_SLAB_NONE)
        return NULL;
    struct lb_tls *tls = lb_slab_at(shared->slab, index);
    *tls = (struct lb_tls){.shared = shared, .context = lb_tls_context_share(context), .fd = fd, .backend = UINT32_MAX};
    tls->ssl = lb_ssl.SSL_new(context->ctx);
    if (tls->ssl && lb_tls_attach(tls) == 0)
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
    lb_slab_give(slab, lb_slab_index(slab, tls));
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

int lb_tls_offer(struct lb_tls *tls, const char *alpn)
{
    unsigned char names[256]; /* each behind its length */
    size_t length = strnlen(alpn, sizeof names - 1), begins = 0;
    memcpy(names + 1, alpn, length);
    for (size_t i = 0; i <= length; i++)
        if (i == length || alpn[i] == ',') {
            names[begins] = (unsigned char)(i - begins);
            begins = i + 1;
        }
    return lb_ssl.SSL_set_alpn_protos(tls->ssl, names, (unsigned int)length + 1) == 0 ? 0 : -1;
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
