#include <errno.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"
#include "loop_uring.h"
#include "ring_mode.h"

int lb_loop_open(struct lb_loop *loop, struct lb_uring *uring)
{
    *loop = (struct lb_loop){.poller = epoll_create1(EPOLL_CLOEXEC), .uring = uring};
    if (loop->poller < 0)
        return -errno;
    if (uring)
        uring->poller = loop->poller;
    return 0;
}

void lb_loop_close(struct lb_loop *loop)
{
    lb_loop_settle(loop);
    if (loop->poller >= 0)
        close(loop->poller);
    loop->poller = -1;
}

int lb_loop_watch(struct lb_loop *loop, int fd, uint32_t events, uint64_t tag)
{
    struct epoll_event event = {.events = events, .data.u64 = tag};
    return epoll_ctl(loop->poller, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

int lb_loop_change(struct lb_loop *loop, int fd, uint32_t events, uint64_t tag)
{
    struct epoll_event event = {.events = events, .data.u64 = tag};
    return epoll_ctl(loop->poller, EPOLL_CTL_MOD, fd, &event) < 0 ? -errno : 0;
}

void lb_loop_unwatch(struct lb_loop *loop, int fd)
{
    (void)epoll_ctl(loop->poller, EPOLL_CTL_DEL, fd, NULL);
}

/* What may be brief, or is watched by epoll already, comes to the ring when it has proven to last. */
static int attach_to_ring(struct lb_loop *loop, int fd, uint64_t tag, enum lb_attaching how)
{
    switch (how) {
    case LB_ATTACH_FRESH:
        return lb_ring_attach(loop->uring, fd, tag, LB_RING_RINGED, 0);
    case LB_ATTACH_CONNECTING:
        return lb_ring_attach(loop->uring, fd, tag, LB_RING_CONNECTING, 0);
    case LB_ATTACH_BRIEF:
        return lb_ring_attach(loop->uring, fd, tag, LB_RING_DIRECT, 0);
    case LB_ATTACH_WATCHED:
        return lb_ring_attach(loop->uring, fd, tag, LB_RING_DIRECT, 1);
    }
    return -EINVAL;
}

int lb_loop_attach(struct lb_loop *loop, int fd, uint64_t tag, enum lb_attaching how)
{
    uint32_t events = (uint32_t)LB_LOOP_EDGES | EPOLLET;
    if (loop->uring && (unsigned)fd < lb_ring_sockets.count)
        return attach_to_ring(loop, fd, tag, how);
    return how != LB_ATTACH_WATCHED ? lb_loop_watch(loop, fd, events, tag) : lb_loop_change(loop, fd, events, tag);
}

int lb_loop_wait(struct lb_loop *loop, struct epoll_event *events, int room, int timeout_ms)
{
    int count =
        loop->uring ? lb_uring_wait(loop->uring, events, room, timeout_ms) : epoll_wait(loop->poller, events, room, timeout_ms);
    if (count < 0)
        return loop->uring ? count : -errno;
    loop->more = count == room || (loop->uring && loop->uring->has_more);
    return count;
}

void lb_loop_pause(struct lb_loop *loop, uint32_t us)
{
    lb_loop_settle(loop);
    (void)clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){.tv_nsec = (long)us * 1000}, NULL);
}

void lb_loop_settle(struct lb_loop *loop)
{
    if (loop->uring)
        (void)lb_ring_submit(&loop->uring->ring);
}

int lb_loop_has_sent_all(const struct lb_loop *loop)
{
    return !loop->uring || lb_ring_sends_under_way(&loop->uring->sends) == 0;
}
