#include "loop_uring.h"

#include <errno.h>

#include "ring_inbox.h"
#include "ring_mode.h"
#include "ring_outbox.h"

/* Once: a poll that is begun anew sees what the poller has still, as levels. */
static void ask_poller(struct lb_uring *uring)
{
    struct lb_sqe *sqe = lb_ring_next(&uring->ring);
    sqe->opcode = LB_OP_POLL;
    sqe->fd = uring->poller;
    sqe->op_flags = EPOLLIN;
    sqe->user_data = lb_uring_word(LB_OF_POLLER, 0, 0);
    uring->poller_asked = 1;
}

static void connected(struct lb_uring *uring, const struct lb_cqe *cqe)
{
    struct lb_ring_socket *socket = lb_ring_socket_of((int)((uint32_t)cqe->user_data >> LB_OF_BITS));
    if (!socket || socket->uring != uring || socket->generation != (uint32_t)(cqe->user_data >> 32))
        return;
    uint32_t events = cqe->result < 0 ? (uint32_t)(EPOLLOUT | EPOLLERR | EPOLLHUP) : (uint32_t)cqe->result;
    lb_uring_raise(uring, socket, events & ~(uint32_t)(EPOLLIN | EPOLLRDHUP)); /* the receive tells those */
    if (events & (EPOLLERR | EPOLLHUP))
        lb_ring_go_direct_later(socket);
    else
        lb_ring_begin(socket);
}

static void complete(struct lb_uring *uring, const struct lb_cqe *cqe)
{
    switch ((enum lb_uring_of)(cqe->user_data & ((1 << LB_OF_BITS) - 1))) {
    case LB_OF_POLLER:
        uring->poller_asked = 0;
        uring->poller_has = 1;
        break;
    case LB_OF_CONNECT:
        connected(uring, cqe);
        break;
    case LB_OF_RECEIVE:
        lb_ring_received(uring, cqe);
        break;
    case LB_OF_SEND:
        lb_ring_sent(uring, cqe);
        break;
    case LB_OF_NOBODY: /* a cancel that came too late */
        break;
    }
}

static int take_poller(struct lb_uring *uring)
{
    int count = epoll_wait(uring->poller, uring->events + uring->count, uring->room - uring->count, 0);
    if (count < 0)
        return errno == EINTR ? 0 : -errno;
    uring->poller_has = 0;
    uring->count += count;
    return 0;
}

static int reap(struct lb_uring *uring)
{
    const struct lb_cqe *cqe;
    while (uring->count < uring->room && (cqe = lb_ring_first(&uring->ring))) {
        struct lb_cqe copy = *cqe;
        lb_ring_took(&uring->ring);
        complete(uring, &copy);
    }
    if (lb_ring_first(&uring->ring)) {
        uring->has_more = 1;
        lb_ring_look_for_sends(uring);
    }
    lb_ring_sent_quick(uring);
    int error = uring->poller_has && uring->count < uring->room ? take_poller(uring) : 0;
    return error ? error : uring->count;
}

/* Since Linux 6.13 one call does 20 of the tasks that wait at most. What has happened by now is to be told in this turn: who is given a request
 * relies on that (l7/conn_pool.c). */
static void hear_all(struct lb_uring *uring)
{
    enum { MANY = 16, CALLS = 16 };
    uint32_t before = 0, now = lb_ring_untaken(&uring->ring);
    for (int i = 0; i < CALLS && now - before >= MANY; i++) {
        lb_ring_buffers_refill(&uring->buffers, now);
        if (lb_ring_submit(&uring->ring) < 0)
            break;
        before = now;
        now = lb_ring_untaken(&uring->ring);
    }
    uring->has_more = now - before >= MANY;
}

int lb_uring_wait(struct lb_uring *uring, struct epoll_event *events, int room, int timeout_ms)
{
    uring->events = events;
    uring->count = 0;
    uring->room = room;
    lb_ring_watch_listed(uring);
    if (!uring->poller_asked && !uring->poller_has)
        ask_poller(uring);
    int is_ready = uring->hurries || uring->count || uring->poller_has || lb_ring_first(&uring->ring);
    lb_ring_buffers_refill(&uring->buffers, lb_ring_untaken(&uring->ring));
    int error = is_ready || !timeout_ms ? lb_ring_submit(&uring->ring) : lb_ring_wait(&uring->ring, timeout_ms);
    uring->hurries = 0;
    hear_all(uring);
    if (error && error != -EINTR && error != -EBUSY && error != -EAGAIN)
        return error;
    return reap(uring);
}
