#include "uring_trial.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop_uring.h"
#include "ring_close.h"
#include "ring_inbox.h"
#include "ring_mode.h"
#include "ring_outbox.h"

enum { TAG = 7, EVENTS = 8, PATIENCE_MS = 500 };

static const char word[] = "trial";

/* The event that is waited for has come, of the socket that is served. */
static int is_told(struct lb_uring *uring, uint32_t what)
{
    struct epoll_event events[EVENTS];
    int count = lb_uring_wait(uring, events, EVENTS, PATIENCE_MS);
    return count == 1 && events[0].data.u64 == TAG && events[0].events & what;
}

static int hears(struct lb_uring *uring, struct lb_ring_socket *socket, int peer)
{
    char got[sizeof word];
    return send(peer, word, sizeof word, MSG_NOSIGNAL) == sizeof word && is_told(uring, EPOLLIN) &&
           lb_ring_recv(socket, got, sizeof got) == sizeof got && memcmp(got, word, sizeof got) == 0;
}

static int speaks(struct lb_uring *uring, struct lb_ring_socket *socket, int peer)
{
    struct epoll_event events[EVENTS];
    char got[sizeof word];
    struct iovec part = {(void *)(uintptr_t)word, sizeof word};
    return lb_ring_send(socket, &part, 1, 0) == sizeof word && lb_uring_wait(uring, events, EVENTS, 0) == 0 &&
           recv(peer, got, sizeof got, MSG_DONTWAIT) == sizeof got && memcmp(got, word, sizeof got) == 0;
}

static int ends(struct lb_uring *uring, struct lb_ring_socket *socket, int peer)
{
    char none;
    lb_ring_close_socket(socket, 0);
    return lb_ring_submit(&uring->ring) == 0 && recv(peer, &none, 1, MSG_DONTWAIT) == 0;
}

/* A ring opens no files: the system-call filter would not see it. */
static int is_held(struct lb_uring *uring)
{
    struct lb_sqe *sqe = lb_ring_next(&uring->ring);
    sqe->opcode = LB_OP_OPEN;
    sqe->fd = AT_FDCWD;
    sqe->address = (uintptr_t) "/";
    sqe->op_flags = O_RDONLY;
    sqe->user_data = TAG << LB_OF_BITS;
    if (lb_ring_submit(&uring->ring) < 0)
        return 0;
    for (const struct lb_cqe *cqe; (cqe = lb_ring_first(&uring->ring)); lb_ring_took(&uring->ring))
        if (cqe->user_data == TAG << LB_OF_BITS)
            return cqe->result == -EACCES;
    return 0;
}

static int run(struct lb_uring *uring, int ours, int peer)
{
    int error = lb_ring_attach(uring, ours, TAG, LB_RING_RINGED, 0);
    if (error)
        return error;
    struct lb_ring_socket *socket = lb_ring_socket_of(ours);
    int is_good = hears(uring, socket, peer) && speaks(uring, socket, peer);
    return ends(uring, socket, peer) && is_good && is_held(uring) ? 0 : -EPROTO;
}

int lb_uring_try(void)
{
    struct lb_uring *uring;
    int ends[2], error = lb_uring_open(&uring);
    if (error)
        return error;
    uring->poller = epoll_create1(EPOLL_CLOEXEC);
    if (uring->poller < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        error = -errno;
    } else {
        error = run(uring, ends[0], ends[1]); /* closes the first */
        close(ends[1]);
    }
    if (uring->poller >= 0)
        close(uring->poller);
    lb_uring_close(uring);
    return error;
}
