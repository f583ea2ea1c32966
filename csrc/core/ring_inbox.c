#include "ring_inbox.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "ring_mode.h"

enum {
    MOST_HELD = 2, /* buffers that wait for a reader; who does not come for them is served by epoll, as is a stream */
    LITTLE = 4096, /* bytes of a read that brings little, less than */
    BULKY = 4,     /* receives in a row that brought more: a copy costs more than the ring saves */
};

/* --- reading -------------------------------------------------------------------------------------------------------- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* The first buffer is read. */
static void drop_first(struct lb_ring_socket *socket)
{
    struct lb_ring_buffers *buffers = &socket->uring->buffers;
    uint16_t id = socket->first;
    socket->first = buffers->filled[id].next;
    socket->start = 0;
    socket->held--;
    lb_ring_buffers_give(buffers, id);
}

static size_t take(struct lb_ring_socket *socket, char *bytes, size_t count)
{
    struct lb_ring_buffers *buffers = &socket->uring->buffers;
    size_t taken = 0;
    while (socket->first != LB_RING_NO_BUFFER && taken < count) {
        size_t rest = buffers->filled[socket->first].count - socket->start, part = least(rest, count - taken);
        memcpy(bytes + taken, lb_ring_buffers_at(buffers, socket->first) + socket->start, part);
        taken += part;
        socket->start = (uint16_t)(socket->start + part);
        if (part == rest)
            drop_first(socket);
    }
    return taken;
}

static ssize_t fails(int error)
{
    errno = error;
    return -1;
}

ssize_t lb_ring_end(const struct lb_ring_socket *socket)
{
    if (socket->error)
        return fails(socket->error);
    return socket->deaf == ECONNRESET ? fails(ECONNRESET) : 0;
}

/* What is there behind the inbox, as far as the ring knows: 0 for the end, -1 with errno. */
static ssize_t behind_inbox(const struct lb_ring_socket *socket)
{
    return socket->error || socket->ended ? lb_ring_end(socket) : fails(EAGAIN);
}

static ssize_t receive(const struct lb_ring_socket *socket, void *bytes, size_t count, int flags)
{
    ssize_t got;
    do
        got = recv(lb_ring_socket_fd(socket), bytes, count, MSG_DONTWAIT | flags);
    while (got < 0 && errno == EINTR);
    return got == 0 && count ? lb_ring_end(socket) : got;
}

static ssize_t receive_direct(struct lb_ring_socket *socket, void *bytes, size_t count)
{
    ssize_t got = receive(socket, bytes, count, 0);
    if (got <= 0)
        return got;
    socket->calm = (size_t)got < least(count, LITTLE) ? (uint8_t)(socket->calm + 1) : 0;
    if (socket->calm >= LB_RING_CALM && socket->watched)
        lb_ring_return(socket);
    return got;
}

/* A short read means an empty socket. What epoll has told may lie behind the inbox. */
ssize_t lb_ring_recv(struct lb_ring_socket *socket, void *bytes, size_t count)
{
    size_t taken = take(socket, bytes, count);
    int reads_on = socket->mode == LB_RING_DIRECT && !socket->error && !socket->ended;
    if (taken && (taken == count || !reads_on))
        return (ssize_t)taken;
    ssize_t got = reads_on ? receive_direct(socket, (char *)bytes + taken, count - taken) : behind_inbox(socket);
    if (!taken)
        return got;
    if (got < 0 && errno != EAGAIN)
        socket->error = (uint8_t)errno; /* a socket tells it once: the next read is to say it */
    return (ssize_t)taken + (got > 0 ? got : 0);
}

ssize_t lb_ring_peek(const struct lb_ring_socket *socket, void *bytes, size_t count)
{
    const struct lb_ring_buffers *buffers = &socket->uring->buffers;
    size_t seen = 0, start = socket->start;
    for (uint16_t id = socket->first; id != LB_RING_NO_BUFFER && seen < count; id = buffers->filled[id].next) {
        size_t part = least(buffers->filled[id].count - start, count - seen);
        memcpy((char *)bytes + seen, lb_ring_buffers_at(buffers, id) + start, part);
        seen += part;
        start = 0;
    }
    if (seen)
        return (ssize_t)seen;
    /* what the kernel has not told yet lies in the socket still */
    return socket->error || socket->ended ? behind_inbox(socket) : receive(socket, bytes, count, MSG_PEEK);
}

ssize_t lb_ring_waiting(const struct lb_ring_socket *socket, size_t most)
{
    const struct lb_ring_buffers *buffers = &socket->uring->buffers;
    size_t there = 0, start = socket->start;
    for (uint16_t id = socket->first; id != LB_RING_NO_BUFFER; id = buffers->filled[id].next) {
        there += buffers->filled[id].count - start;
        start = 0;
    }
    if (!socket->ended && socket->mode != LB_RING_DIRECT)
        return -1;
    ssize_t more = socket->ended ? 0 : recv(lb_ring_socket_fd(socket), NULL, most, MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT);
    return (ssize_t)least(there + (more > 0 ? (size_t)more : 0), most);
}

/* --- completions ---------------------------------------------------------------------------------------------------- */

static void append(struct lb_ring_socket *socket, uint16_t id, uint16_t count)
{
    struct lb_ring_buffers *buffers = &socket->uring->buffers;
    buffers->filled[id] = (struct lb_ring_filled){count, LB_RING_NO_BUFFER};
    if (socket->first == LB_RING_NO_BUFFER) {
        socket->first = id;
        socket->start = 0;
        socket->held = 0;
    } else {
        buffers->filled[socket->last].next = id;
    }
    socket->last = id;
    socket->held++;
}

/* No more comes by this receive. */
static void ended(struct lb_ring_socket *socket, int result)
{
    switch (result) {
    case 0:
        socket->ended = 1;
        lb_uring_raise(socket->uring, socket, EPOLLIN | EPOLLRDHUP | (lb_ring_end(socket) < 0 ? EPOLLHUP | EPOLLERR : 0));
        lb_ring_go_direct_later(socket); /* a reset may follow */
        return;
    case -ENOBUFS: /* all that the kernel had are in use */
        if (lb_ring_buffers_lack(&socket->uring->buffers) && socket->mode == LB_RING_RINGED) {
            lb_ring_begin(socket);
            return;
        }
        lb_ring_go_direct(socket);
        return;
    case -ECANCELED: /* it leaves */
        lb_ring_go_direct(socket);
        return;
    default:
        socket->error = (uint8_t)-result;
        socket->mode = LB_RING_DIRECT;
        lb_uring_raise(socket->uring, socket, EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    }
}

void lb_ring_received(struct lb_uring *uring, const struct lb_cqe *cqe)
{
    struct lb_ring_socket *socket = lb_ring_socket_of((int)((uint32_t)cqe->user_data >> LB_OF_BITS));
    int is_ours = socket && socket->uring == uring && socket->generation == (uint32_t)(cqe->user_data >> 32);
    if (cqe->flags & LB_CQE_BUFFER) {
        uint16_t id = (uint16_t)(cqe->flags >> LB_CQE_BUFFER_SHIFT);
        lb_ring_buffers_took(&uring->buffers);
        if (is_ours && cqe->result > 0)
            append(socket, id, (uint16_t)cqe->result);
        else
            lb_ring_buffers_give(&uring->buffers, id);
    }
    if (!is_ours)
        return;
    if (cqe->result > 0) {
        socket->calm = cqe->result < LITTLE ? 0 : (uint8_t)(socket->calm + (socket->calm < BULKY));
        lb_uring_raise(uring, socket, EPOLLIN);
    }
    if (cqe->flags & LB_CQE_MORE) {
        if (socket->held > MOST_HELD || socket->calm == BULKY)
            lb_ring_leave(socket);
    } else if (cqe->result > 0) {
        lb_ring_go_direct(socket); /* the queue of completions was full */
    } else {
        ended(socket, cqe->result);
    }
}
