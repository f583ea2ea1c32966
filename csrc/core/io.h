/* The four calls that move bytes. A signal says nothing of the socket: they ask again, or an edge would be missed. */
#ifndef LB_IO_H
#define LB_IO_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

static inline ssize_t lb_recv(int fd, void *bytes, size_t count)
{
    ssize_t got;
    do
        got = recv(fd, bytes, count, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    return got;
}

static inline ssize_t lb_send(int fd, const void *bytes, size_t count)
{
    ssize_t sent;
    do
        sent = send(fd, bytes, count, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent;
}

static inline ssize_t lb_send_parts(int fd, struct iovec *parts, size_t count)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t sent;
    do
        sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (sent < 0 && errno == EINTR);
    return sent;
}

static inline ssize_t lb_splice(int from, int to, size_t count)
{
    ssize_t moved;
    do
        moved = splice(from, NULL, to, NULL, count, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    while (moved < 0 && errno == EINTR);
    return moved;
}

#endif
