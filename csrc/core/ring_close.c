#include "ring_close.h"

#include <unistd.h>

#include "ring_mode.h"
#include "ring_outbox.h"

static void drop_inbox(struct lb_ring_socket *socket)
{
    struct lb_ring_buffers *buffers = &socket->uring->buffers;
    while (socket->first != LB_RING_NO_BUFFER) {
        uint16_t id = socket->first;
        socket->first = buffers->filled[id].next;
        lb_ring_buffers_give(buffers, id);
    }
}

/* With the next submit, behind what is queued for it. */
static void close_later(struct lb_uring *uring, int fd)
{
    struct lb_sqe *sqe = lb_ring_next(&uring->ring);
    sqe->opcode = LB_OP_CLOSE;
    sqe->flags = LB_SQE_SKIP_SUCCESS;
    sqe->fd = fd;
}

void lb_ring_close_socket(struct lb_ring_socket *socket, int reset)
{
    struct lb_uring *uring = socket->uring;
    int fd = lb_ring_socket_fd(socket), is_in_ring = socket->send != LB_RING_NO_SEND || socket->mode != LB_RING_DIRECT;
    if (socket->send != LB_RING_NO_SEND)
        lb_ring_part_from_send(socket, reset);
    if (socket->mode == LB_RING_CONNECTING)
        lb_ring_cancel(uring, lb_uring_word_of(socket, LB_OF_CONNECT));
    else if (socket->mode == LB_RING_RINGED) /* it holds the socket open: no FIN goes before it is cancelled */
        lb_ring_cancel(uring, lb_uring_word_of(socket, LB_OF_RECEIVE));
    drop_inbox(socket);
    socket->uring = NULL;
    socket->generation++;
    if (is_in_ring)
        close_later(uring, fd);
    else
        close(fd); /* epoll would still tell of one that is closed later */
}
