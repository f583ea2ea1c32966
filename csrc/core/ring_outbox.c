#include "ring_outbox.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "ring_mode.h"

enum { LINGER_MS = 60000 /* a peer that takes nothing of what is sent before the end is given up */ };

static size_t total_of(const struct iovec *parts, size_t count)
{
    size_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += parts[i].iov_len;
    return total;
}

static ssize_t fails(int error)
{
    errno = error;
    return -1;
}

/* --- by the ring ---------------------------------------------------------------------------------------------------- */

/* Copy as much as there is room for. */
static size_t copy_in(struct lb_ring_sends *sends, uint16_t id, const struct iovec *parts, size_t count)
{
    struct lb_ring_send *send = &sends->at[id];
    size_t taken = 0;
    for (size_t i = 0; i < count; i++) {
        size_t room = LB_RING_SEND_BYTES - send->end, part = parts[i].iov_len < room ? parts[i].iov_len : room;
        if (part)
            memcpy(lb_ring_sends_bytes(sends, id) + send->end, parts[i].iov_base, part);
        send->end = (uint16_t)(send->end + part);
        taken += part;
    }
    return taken;
}

static struct lb_sqe *queue(struct lb_uring *uring, uint16_t id)
{
    struct lb_ring_send *send = &uring->sends.at[id];
    struct lb_sqe *sqe = lb_ring_next(&uring->ring);
    send->place = uring->ring.sq_tail - 1;
    sqe->opcode = LB_OP_SEND;
    sqe->fd = send->fd;
    sqe->address = (uintptr_t)(lb_ring_sends_bytes(&uring->sends, id) + send->start);
    sqe->length = (uint32_t)(send->end - send->start);
    sqe->op_flags = MSG_NOSIGNAL | MSG_WAITALL; /* a short send goes on by itself */
    sqe->user_data = lb_uring_word(LB_OF_SEND, id, 0);
    return sqe;
}

/* Nearly all sends find room: those are done with their submission, without a completion that would end a wait. With MSG_WAITALL a short
 * send is a failure here, and told. */
static void queue_quick(struct lb_uring *uring, uint16_t id)
{
    struct lb_sqe *sqe = queue(uring, id);
    sqe->flags = LB_SQE_SKIP_SUCCESS;
    sqe->op_flags |= MSG_DONTWAIT;
    uring->sends.at[id].listed = 1;
    uring->sends.quick[uring->sends.quick_count++] = id;
}

static void begin(struct lb_ring_socket *socket, uint16_t id, const struct iovec *parts, size_t count)
{
    struct lb_ring_sends *sends = &socket->uring->sends;
    sends->at[id] = (struct lb_ring_send){.fd = lb_ring_socket_fd(socket), .generation = socket->generation};
    (void)copy_in(sends, id, parts, count);
    queue_quick(socket->uring, id);
    socket->send = id;
}

/* An event is to say when the send under way is done. */
static void ask_for_end(struct lb_ring_socket *socket)
{
    if (!lb_ring_insist(socket->uring, socket->send) && !socket->uring->sends.at[socket->send].insists)
        socket->uring->hurries = 1; /* the kernel had it before this turn's wait: it is as good as done */
}

/* What the kernel has not got yet is made longer; else there is no room until it is done. */
static ssize_t add_to_send(struct lb_ring_socket *socket, const struct iovec *parts, size_t count, size_t total)
{
    struct lb_uring *uring = socket->uring;
    struct lb_ring_send *send = &uring->sends.at[socket->send];
    size_t took = 0;
    if (lb_ring_is_queued(&uring->ring, send->place)) {
        took = copy_in(&uring->sends, socket->send, parts, count);
        uring->ring.sqe[send->place & (uring->ring.sq_entries - 1)].length = (uint32_t)(send->end - send->start);
    }
    if (took < total) {
        socket->waits = 1;
        ask_for_end(socket);
    }
    return took ? (ssize_t)took : fails(EAGAIN);
}

/* --- by calls ------------------------------------------------------------------------------------------------------- */

void lb_ring_wants_room(struct lb_ring_socket *socket)
{
    int error = errno;
    socket->full = 1;
    lb_ring_leave(socket); /* an edge of epoll tells */
    errno = error;
}

static ssize_t send_directly(struct lb_ring_socket *socket, struct iovec *parts, size_t count, size_t total, int flags)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t sent;
    do
        sent = sendmsg(lb_ring_socket_fd(socket), &message, MSG_NOSIGNAL | MSG_DONTWAIT | flags);
    while (sent < 0 && errno == EINTR);
    socket->full = 0;
    if (sent < 0 ? errno == EAGAIN : (size_t)sent < total)
        lb_ring_wants_room(socket);
    else if (sent < 0)
        socket->deaf = (uint8_t)errno;
    return sent;
}

ssize_t lb_ring_send(struct lb_ring_socket *socket, struct iovec *parts, size_t count, int flags)
{
    size_t total = total_of(parts, count);
    if (socket->deaf)
        return fails(socket->deaf);
    if (socket->error)
        return fails(socket->error);
    if (socket->send != LB_RING_NO_SEND)
        return add_to_send(socket, parts, count, total);
    if (socket->mode != LB_RING_RINGED || total > LB_RING_SEND_BYTES || flags)
        return send_directly(socket, parts, count, total, flags);
    uint16_t id = lb_ring_sends_take(&socket->uring->sends);
    if (id == LB_RING_NO_SEND)
        return send_directly(socket, parts, count, total, flags);
    begin(socket, id, parts, count);
    return (ssize_t)total;
}

int lb_ring_may_splice_to(struct lb_ring_socket *socket)
{
    if (socket->send == LB_RING_NO_SEND)
        return 1;
    socket->waits = 1;
    ask_for_end(socket);
    return 0;
}

void lb_ring_finish(struct lb_ring_socket *socket)
{
    if (socket->send != LB_RING_NO_SEND) {
        socket->fin = 1;
        ask_for_end(socket);
    } else {
        (void)shutdown(lb_ring_socket_fd(socket), SHUT_WR);
    }
}

/* --- completions ---------------------------------------------------------------------------------------------------- */

/* The socket that a send was of, if it is there still. */
static struct lb_ring_socket *socket_of(struct lb_uring *uring, const struct lb_ring_send *send, uint16_t id)
{
    struct lb_ring_socket *socket = lb_ring_socket_of(send->fd);
    int is_ours = socket && socket->uring == uring && socket->generation == send->generation && socket->send == id;
    return is_ours ? socket : NULL;
}

static void done(struct lb_uring *uring, uint16_t id, int error)
{
    struct lb_ring_send *send = &uring->sends.at[id];
    struct lb_ring_socket *socket = socket_of(uring, send, id);
    send->done = 1;
    if (!send->listed)
        lb_ring_sends_give(&uring->sends, id);
    if (!socket)
        return;
    socket->send = LB_RING_NO_SEND;
    socket->deaf = (uint8_t)error;
    if (socket->fin)
        (void)shutdown(send->fd, SHUT_WR);
    if (socket->waits || error)
        lb_uring_raise(uring, socket, EPOLLOUT);
    socket->waits = 0;
}

void lb_ring_sent(struct lb_uring *uring, const struct lb_cqe *cqe)
{
    uint16_t id = (uint16_t)((uint32_t)cqe->user_data >> LB_OF_BITS);
    struct lb_ring_send *send = &uring->sends.at[id];
    struct lb_ring_socket *socket = socket_of(uring, send, id);
    int got = cqe->result == -EAGAIN ? 0 : cqe->result, error = got < 0 ? -got : 0;
    if (socket && error) /* known before any receive is looked at: a socket tells a reset once, and then a mere end */
        socket->deaf = (uint8_t)error;
    if (socket && !error && got < send->end - send->start) { /* it found no room: now it waits for some */
        send->start = (uint16_t)(send->start + got);
        send->insists = 1;
        (void)queue(uring, id);
    } else if (send->insists) {
        done(uring, id, error);
    } else {
        send->error = (uint8_t)error; /* lb_ring_sent_quick comes to it */
    }
}

void lb_ring_look_for_sends(struct lb_uring *uring)
{
    struct lb_ring *ring = &uring->ring;
    uint32_t first = *ring->cq_head, end = first + lb_ring_untaken(ring);
    for (uint32_t at = (int32_t)(uring->looked - first) > 0 ? uring->looked : first; at != end; at++) {
        struct lb_cqe *cqe = &ring->cqe[at & ring->cq_mask];
        uint64_t word = cqe->user_data;
        uint16_t id = (uint16_t)((uint32_t)word >> LB_OF_BITS);
        if (word != lb_uring_word(LB_OF_SEND, id, 0) || uring->sends.at[id].insists)
            continue;
        lb_ring_sent(uring, cqe);
        cqe->user_data = lb_uring_word(LB_OF_NOBODY, 0, 0);
    }
    uring->looked = end;
}

/* The end of this one is to be told, for which the list has no room now. */
static int must_wait(struct lb_uring *uring, uint16_t id)
{
    const struct lb_ring_send *send = &uring->sends.at[id];
    const struct lb_ring_socket *socket = uring->count == uring->room ? socket_of(uring, send, id) : NULL;
    return socket && (socket->waits || send->error);
}

void lb_ring_sent_quick(struct lb_uring *uring)
{
    struct lb_ring_sends *sends = &uring->sends;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < sends->quick_count; i++) {
        uint16_t id = sends->quick[i];
        struct lb_ring_send *send = &sends->at[id];
        if (lb_ring_is_queued(&uring->ring, send->place) || must_wait(uring, id)) {
            sends->quick[kept++] = id;
            continue;
        }
        send->listed = 0;
        if (send->done)
            lb_ring_sends_give(sends, id);
        else if (!send->insists) /* else its completion tells */
            done(uring, id, send->error);
    }
    sends->quick_count = kept;
}

void lb_ring_part_from_send(struct lb_ring_socket *socket, int reset)
{
    struct lb_uring *uring = socket->uring;
    uint16_t id = socket->send;
    uint64_t word = lb_uring_word(LB_OF_SEND, id, 0);
    int limit_ms = LINGER_MS;
    if (reset) {
        lb_ring_cancel(uring, word);
        return;
    }
    if (lb_ring_insist(uring, id))
        return; /* most are done as soon as the kernel has them */
    struct lb_cqe *untold = lb_ring_find(&uring->ring, word);
    if (untold) { /* it found no room, and would not be heard of again */
        lb_ring_sent(uring, untold);
        untold->user_data = lb_uring_word(LB_OF_NOBODY, 0, 0);
    }
    if (uring->sends.at[id].insists)
        (void)setsockopt(lb_ring_socket_fd(socket), IPPROTO_TCP, TCP_USER_TIMEOUT, &limit_ms, sizeof limit_ms);
}
