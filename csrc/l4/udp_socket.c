#include "udp_socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void lb_udp_flush(struct lb_udp *udp)
{
    lb_add(&udp->ctx->row->datagrams_dropped, lb_outbox_flush(&udp->outbox));
}

int lb_udp_has(const struct lb_udp *udp, uint32_t listener)
{
    return listener < udp->count && udp->at[listener].fd >= 0;
}

/* Who serves no datagrams pays nothing for their batches. */
static int open_batches(struct lb_udp *udp)
{
    if (udp->bucket)
        return 0;
    uint32_t buckets = 64;
    while (buckets < udp->sessions.capacity && buckets < 1u << 20)
        buckets *= 2;
    udp->bucket = malloc(buckets * sizeof *udp->bucket);
    if (!udp->bucket)
        return -ENOMEM;
    memset(udp->bucket, 0xff, buckets * sizeof *udp->bucket); /* LB_SLAB_NONE */
    udp->mask = buckets - 1;
    int error = lb_inbox_open(&udp->inbox);
    return error ? error : lb_inbox_open(&udp->outbox.room);
}

static int is_wild(const union lb_address *address)
{
    static const struct in6_addr none;
    if (address->any.sa_family == AF_INET6)
        return memcmp(&address->v6.sin6_addr, &none, sizeof none) == 0;
    return address->v4.sin_addr.s_addr == 0;
}

static int same_socket(int a, int b)
{
    struct stat one, other;
    return fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_ino == other.st_ino;
}

/* The same listener is wanted again before its last session has ended: new clients are taken, and the old ones go on. */
static int take_back(struct lb_udp *udp, uint32_t listener, int fd)
{
    struct lb_udp_socket *socket = &udp->at[listener];
    int known = !socket->moves && same_socket(socket->fd, fd);
    if (known)
        socket->closing = 0;
    close(fd);
    return known ? 0 : -EINVAL;
}

int lb_udp_add(struct lb_udp *udp, uint32_t listener, int fd, int waits)
{
    union lb_address bound;
    socklen_t length = sizeof bound;
    if (lb_udp_has(udp, listener))
        return take_back(udp, listener, fd);
    int error = listener >= udp->count ? -EINVAL : open_batches(udp);
    if (!error && getsockname(fd, &bound.any, &length) < 0)
        error = -errno;
    if (!error) {
        lb_datagram_prepare(fd, bound.any.sa_family, is_wild(&bound));
        error = lb_loop_watch(&udp->ctx->loop, fd, waits ? 0 : EPOLLIN, lb_tag_of(LB_TAG_LISTENER, listener, 0));
    }
    if (error) {
        close(fd);
        return error;
    }
    udp->at[listener] = (struct lb_udp_socket){.fd = fd, .waits = (uint8_t)waits};
    udp->open++;
    return 0;
}

void lb_udp_close_when_empty(struct lb_udp *udp, uint32_t listener)
{
    struct lb_udp_socket *socket = &udp->at[listener];
    if (!socket->closing || socket->sessions || socket->fd < 0)
        return;
    if (udp->outbox.used && udp->outbox.fd == socket->fd)
        lb_udp_flush(udp);
    lb_loop_unwatch(&udp->ctx->loop, socket->fd); /* as in listeners.c: others may hold it */
    close(socket->fd);
    socket->fd = -1;
    udp->open--;
    udp->closed += !socket->closed;
    socket->closed = 1;
}

void lb_udp_remove(struct lb_udp *udp, uint32_t listener)
{
    if (!lb_udp_has(udp, listener))
        return;
    udp->at[listener].closing = 1;
    lb_udp_close_when_empty(udp, listener);
}
