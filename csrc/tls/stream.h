/* The life of a TLS connection, and its bytes: in and out as recv and send would have it. */
#ifndef LB_TLS_STREAM_H
#define LB_TLS_STREAM_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "connection.h"

/* A client's connection that is to begin, or one of ours to a backend; NULL when memory or a place is lacking. The context is shared;
 * the descriptor stays the caller's. name: the host that is asked for and checked, or an IP address; NULL: nobody in particular. */
struct lb_tls *lb_tls_accept(struct lb_tls_shared *shared, struct lb_tls_context *context, int fd);
struct lb_tls *lb_tls_connect(struct lb_tls_shared *shared, struct lb_tls_context *context, int fd, const char *name,
                              uint32_t backend, uint64_t tenant);

/* Before the handshake of one of ours: offer these protocols alone, the best first, with commas between them (RFC 7301). 0, or -1 when memory is lacking. */
__attribute__((warn_unused_result)) int lb_tls_offer(struct lb_tls *tls, const char *alpn);
void lb_tls_free(struct lb_tls *tls);

/* What epoll says of its socket. read: true if that may let a read go on that waited. */
int lb_tls_note(struct lb_tls *tls, int readable, int writable, int hung_up);

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

#endif
