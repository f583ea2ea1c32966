#include "bio.h"

#include <errno.h>
#include <pthread.h>

#include "../core/io.h"

/* Bytes that may be read in a turn beside twice what came of them: KeyUpdates and one-byte records cost as much as records that carry
 * something. */
enum { WIRE_ALLOWANCE = 16384 };

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

int lb_tls_attach(struct lb_tls *tls)
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
