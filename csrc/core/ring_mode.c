#include "ring_mode.h"

#include <errno.h>

enum {
    EDGES = EPOLLIN | EPOLLOUT | EPOLLRDHUP,
    TRIAL = 2, /* reads after which one that may be brief has lasted */
};

static uint32_t edges(void)
{
    return (uint32_t)EDGES | EPOLLET;
}

/* --- by the ring ---------------------------------------------------------------------------------------------------- */

void lb_ring_begin(struct lb_ring_socket *socket)
{
    struct lb_sqe *sqe = lb_ring_next(&socket->uring->ring);
    socket->mode = LB_RING_RINGED;
    socket->calm = 0;
    sqe->opcode = LB_OP_RECV;
    sqe->flags = LB_SQE_SELECT_BUFFER;
    sqe->ioprio = LB_RECV_MULTISHOT;
    sqe->fd = lb_ring_socket_fd(socket);
    sqe->user_data = lb_uring_word_of(socket, LB_OF_RECEIVE);
}

static void ask_whether_connected(struct lb_ring_socket *socket)
{
    struct lb_sqe *sqe = lb_ring_next(&socket->uring->ring);
    socket->mode = LB_RING_CONNECTING;
    sqe->opcode = LB_OP_POLL;
    sqe->fd = lb_ring_socket_fd(socket);
    sqe->op_flags = EPOLLOUT;
    sqe->user_data = lb_uring_word_of(socket, LB_OF_CONNECT);
}

void lb_ring_cancel(struct lb_uring *uring, uint64_t word)
{
    struct lb_sqe *sqe = lb_ring_next(&uring->ring);
    sqe->opcode = LB_OP_CANCEL;
    sqe->flags = LB_SQE_SKIP_SUCCESS;
    sqe->fd = -1;
    sqe->address = word;
}

/* --- by epoll ------------------------------------------------------------------------------------------------------- */

static void watch(struct lb_ring_socket *socket)
{
    struct epoll_event event = {.events = edges(), .data.u64 = socket->tag};
    if (epoll_ctl(socket->uring->poller, EPOLL_CTL_ADD, lb_ring_socket_fd(socket), &event) < 0) {
        socket->error = (uint8_t)errno;
        lb_uring_raise(socket->uring, socket, EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    }
    socket->watched = 1;
}

void lb_ring_leave(struct lb_ring_socket *socket)
{
    if (socket->mode != LB_RING_RINGED)
        return;
    lb_ring_cancel(socket->uring, lb_uring_word_of(socket, LB_OF_RECEIVE));
    socket->mode = LB_RING_LEAVING;
}

void lb_ring_go_direct(struct lb_ring_socket *socket)
{
    socket->mode = LB_RING_DIRECT;
    socket->calm = 0;
    watch(socket);
}

void lb_ring_go_direct_later(struct lb_ring_socket *socket)
{
    struct lb_uring *uring = socket->uring;
    socket->mode = LB_RING_DIRECT;
    if (uring->listed_count == LB_URING_LISTED)
        lb_ring_go_direct(socket);
    else
        uring->listed[uring->listed_count++] = (struct lb_uring_listed){lb_ring_socket_fd(socket), socket->generation};
}

void lb_ring_watch_listed(struct lb_uring *uring)
{
    uint32_t count = uring->listed_count;
    uring->listed_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct lb_ring_socket *socket = lb_ring_socket_of(uring->listed[i].fd);
        if (socket && socket->uring == uring && socket->generation == uring->listed[i].generation && !socket->watched)
            watch(socket);
    }
}

int lb_ring_may_splice_from(struct lb_ring_socket *socket)
{
    lb_ring_leave(socket);
    return socket->mode == LB_RING_DIRECT && socket->first == LB_RING_NO_BUFFER;
}

void lb_ring_return(struct lb_ring_socket *socket)
{
    if (socket->full || epoll_ctl(socket->uring->poller, EPOLL_CTL_DEL, lb_ring_socket_fd(socket), NULL) < 0)
        return;
    socket->watched = 0;
    lb_ring_begin(socket);
}

/* --- its life ------------------------------------------------------------------------------------------------------- */

/* Have epoll tell under this tag what is there to be told, again where it has told it before. */
static int watch_anew(struct lb_ring_socket *socket, int operation)
{
    struct epoll_event event = {.events = edges(), .data.u64 = socket->tag};
    return epoll_ctl(socket->uring->poller, operation, lb_ring_socket_fd(socket), &event) < 0 ? -errno : 0;
}

static int tag_anew(struct lb_ring_socket *socket, uint64_t tag)
{
    socket->tag = tag;
    socket->event = 0;
    return socket->watched ? watch_anew(socket, EPOLL_CTL_MOD) : 0; /* who takes over a served socket looks at it first */
}

static int begin_direct(struct lb_ring_socket *socket, int watched)
{
    int error = watch_anew(socket, watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD);
    socket->mode = LB_RING_DIRECT;
    socket->watched = 1;
    socket->calm = LB_RING_CALM - TRIAL;
    if (error)
        socket->uring = NULL;
    return error;
}

int lb_ring_attach(struct lb_uring *uring, int fd, uint64_t tag, enum lb_ring_mode mode, int watched)
{
    struct lb_ring_socket *socket = lb_ring_socket_use(fd);
    if (socket->uring)
        return tag_anew(socket, tag);
    *socket = (struct lb_ring_socket){
        .uring = uring,
        .tag = tag,
        .generation = socket->generation + 1,
        .first = LB_RING_NO_BUFFER,
        .send = LB_RING_NO_SEND,
    };
    if (mode == LB_RING_DIRECT)
        return begin_direct(socket, watched);
    if (mode == LB_RING_CONNECTING)
        ask_whether_connected(socket);
    else
        lb_ring_begin(socket);
    return 0;
}
