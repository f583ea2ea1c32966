#include <errno.h>
#include <unistd.h>

#include "loop.h"

int lb_loop_open(struct lb_loop *loop)
{
    loop->poller = epoll_create1(EPOLL_CLOEXEC);
    return loop->poller < 0 ? -errno : 0;
}

void lb_loop_close(struct lb_loop *loop)
{
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

int lb_loop_attach(struct lb_loop *loop, int fd, uint64_t tag, enum lb_attaching how)
{
    uint32_t events = (uint32_t)LB_LOOP_EDGES | EPOLLET;
    return how == LB_ATTACH_FRESH ? lb_loop_watch(loop, fd, events, tag) : lb_loop_change(loop, fd, events, tag);
}

int lb_loop_wait(struct lb_loop *loop, struct epoll_event *events, int room, int timeout_ms)
{
    int count = epoll_wait(loop->poller, events, room, timeout_ms);
    return count < 0 ? -errno : count;
}
