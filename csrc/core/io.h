/* The calls that move bytes, on sockets that a ring serves, too. A signal says nothing of the socket: they ask again, or an edge would be
 * missed. */
#ifndef LB_IO_H
#define LB_IO_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include "ring_close.h"
#include "ring_inbox.h"
#include "ring_mode.h"
#include "ring_outbox.h"

static inline ssize_t lb_recv(int fd, void *bytes, size_t count)
{
    struct lb_ring_socket *served = lb_ring_socket_of(fd);
    ssize_t got;
    if (served)
        return lb_ring_recv(served, bytes, count);
    do
        got = recv(fd, bytes, count, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    return got;
}

/* What is there stays there. */
static inline ssize_t lb_peek(int fd, void *bytes, size_t count)
{
    const struct lb_ring_socket *served = lb_ring_socket_of(fd);
    ssize_t got;
    if (served)
        return lb_ring_peek(served, bytes, count);
    do
        got = recv(fd, bytes, count, MSG_PEEK | MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    return got;
}

/* Are bytes taken out of the socket already that nobody has read? */
static inline int lb_has_read_ahead(int fd)
{
    const struct lb_ring_socket *served = lb_ring_socket_of(fd);
    return served && served->first != LB_RING_NO_BUFFER;
}

/* How many bytes wait to be read, counted up to `most`; -1: that is not known now. */
static inline ssize_t lb_waiting(int fd, size_t most)
{
    const struct lb_ring_socket *served = lb_ring_socket_of(fd);
    return served ? lb_ring_waiting(served, most) : recv(fd, NULL, most, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
}

static inline ssize_t lb_send_with(int fd, struct iovec *parts, size_t count, int flags)
{
    struct lb_ring_socket *served = lb_ring_socket_of(fd);
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t sent;
    if (served)
        return lb_ring_send(served, parts, count, flags);
    do
        sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
    while (sent < 0 && errno == EINTR);
    return sent;
}

static inline ssize_t lb_send_parts(int fd, struct iovec *parts, size_t count)
{
    return lb_send_with(fd, parts, count, 0);
}

/* Of bytes that the connection's end follows at once: one segment has both. */
static inline ssize_t lb_send_last(int fd, struct iovec *parts, size_t count)
{
    return lb_send_with(fd, parts, count, MSG_MORE);
}

static inline ssize_t lb_send(int fd, const void *bytes, size_t count)
{
    struct lb_ring_socket *served = lb_ring_socket_of(fd);
    struct iovec part = {(void *)(uintptr_t)bytes, count};
    ssize_t sent;
    if (served)
        return lb_ring_send(served, &part, 1, 0);
    do
        sent = send(fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent;
}

/* One of both is a pipe. A socket that the ring reads is to leave it first. */
static inline ssize_t lb_splice(int from, int to, size_t count)
{
    struct lb_ring_socket *source = lb_ring_socket_of(from), *target = lb_ring_socket_of(to);
    ssize_t moved;
    if ((source && !lb_ring_may_splice_from(source)) || (target && !lb_ring_may_splice_to(target))) {
        errno = EAGAIN;
        return -1;
    }
    do
        moved = splice(from, NULL, to, NULL, count, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (moved < 0 && errno == EINTR);
    if (target && moved < 0 && errno == EAGAIN)
        lb_ring_wants_room(target);
    return moved == 0 && source ? lb_ring_end(source) : moved;
}

/* Nothing more is sent: FIN. */
static inline void lb_finish(int fd)
{
    struct lb_ring_socket *served = lb_ring_socket_of(fd);
    if (served)
        lb_ring_finish(served);
    else
        (void)shutdown(fd, SHUT_WR);
}

/* reset: SO_LINGER is set so that the peer reads ECONNRESET. */
static inline void lb_close(int fd, int reset)
{
    struct lb_ring_socket *served = lb_ring_socket_of(fd);
    if (served)
        lb_ring_close_socket(served, reset);
    else
        close(fd);
}

#endif
