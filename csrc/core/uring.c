#include "uring.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

static int prepare(struct lb_uring *uring)
{
    int error = lb_ring_sockets_open();
    if (!error)
        error = lb_ring_open(&uring->ring);
    if (!error)
        error = lb_ring_buffers_open(&uring->buffers, &uring->ring);
    if (!error)
        error = lb_ring_sends_open(&uring->sends);
    return error ? error : lb_ring_enable(&uring->ring);
}

/* So that a forked child finds it. */
static void enter_table(struct lb_uring *uring)
{
    struct lb_ring_socket *entry = lb_ring_socket_use(uring->ring.fd);
    uint32_t generation = entry->generation;
    *entry =
        (struct lb_ring_socket){.uring = uring, .generation = generation, .first = LB_RING_NO_BUFFER, .send = LB_RING_NO_SEND};
}

int lb_uring_open(struct lb_uring **uring)
{
    *uring = calloc(1, sizeof **uring);
    if (!*uring)
        return -ENOMEM;
    (*uring)->ring.fd = (*uring)->poller = -1;
    int error = prepare(*uring);
    if (error) {
        lb_uring_close(*uring);
        *uring = NULL;
        return error;
    }
    if ((unsigned)(*uring)->ring.fd < lb_ring_sockets.count)
        enter_table(*uring);
    return 0;
}

void lb_uring_close(struct lb_uring *uring)
{
    if (!uring)
        return;
    if (uring->ring.fd >= 0)
        (void)lb_ring_submit(&uring->ring);
    if (lb_ring_socket_of(uring->ring.fd))
        lb_ring_sockets.at[uring->ring.fd].uring = NULL;
    lb_ring_close(&uring->ring);
    lb_ring_buffers_close(&uring->buffers);
    lb_ring_sends_close(&uring->sends);
    free(uring);
}

int lb_ring_insist(struct lb_uring *uring, uint16_t id)
{
    struct lb_ring_send *send = &uring->sends.at[id];
    if (!lb_ring_is_queued(&uring->ring, send->place))
        return 0;
    struct lb_sqe *sqe = &uring->ring.sqe[send->place & (uring->ring.sq_entries - 1)];
    sqe->flags = 0;
    sqe->op_flags &= ~(uint32_t)MSG_DONTWAIT;
    send->insists = 1;
    return 1;
}

void lb_uring_raise(struct lb_uring *uring, struct lb_ring_socket *socket, uint32_t events)
{
    int at = socket->event - 1;
    if (at >= 0 && at < uring->count && uring->events[at].data.u64 == socket->tag) {
        uring->events[at].events |= events;
        return;
    }
    if (uring->count == uring->room)
        return;
    socket->event = (uint16_t)(uring->count + 1);
    uring->events[uring->count++] = (struct epoll_event){.events = events, .data.u64 = socket->tag};
}
