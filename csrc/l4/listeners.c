#include "listeners.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ACCEPTS_PER_EVENT = 64, ERROR_PAUSE_MS = 50 };

int lb_listeners_open(struct lb_listeners *listeners, uint32_t count)
{
    *listeners = (struct lb_listeners){.count = count, .fds = malloc(count * sizeof(int))};
    if (!listeners->fds)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        listeners->fds[i] = -1;
    return 0;
}

void lb_listeners_close(struct lb_listeners *listeners)
{
    for (uint32_t i = 0; listeners->fds && i < listeners->count; i++)
        if (listeners->fds[i] >= 0)
            close(listeners->fds[i]);
    free(listeners->fds);
    listeners->fds = NULL;
}

int lb_listeners_add(struct lb_listeners *listeners, struct lb_plane *plane, uint32_t listener, int fd)
{
    struct epoll_event event = {.events = listeners->paused ? 0 : EPOLLIN,
                                .data.u64 = lb_tag_of(LB_TAG_LISTENER, listener, 0)};
    if (listener >= listeners->count || listeners->fds[listener] >= 0) {
        close(fd);
        return -EINVAL;
    }
    if (epoll_ctl(plane->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
        int error = errno;
        close(fd);
        return -error;
    }
    listeners->fds[listener] = fd;
    return 0;
}

static void set_interest(struct lb_listeners *listeners, struct lb_plane *plane, uint32_t events)
{
    for (uint32_t i = 0; i < listeners->count; i++)
        if (listeners->fds[i] >= 0) {
            struct epoll_event event = {.events = events, .data.u64 = lb_tag_of(LB_TAG_LISTENER, i, 0)};
            (void)epoll_ctl(plane->epoll, EPOLL_CTL_MOD, listeners->fds[i], &event);
        }
}

static void pause_accepting(struct lb_listeners *listeners, struct lb_plane *plane, uint64_t retry_ms)
{
    listeners->retry_ms = retry_ms;
    if (listeners->paused)
        return;
    listeners->paused = 1;
    lb_add(&plane->row->accept_pauses, 1);
    set_interest(listeners, plane, 0);
}

static int has_room(const struct lb_plane *plane)
{
    return plane->sessions.used < plane->sessions.capacity;
}

/* A connection that failed in the queue is the client's affair (accept(2), "Error handling"): take the next. */
static int concerns_one_client(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return 1;
    default:
        return 0;
    }
}

/* 1: took one or lost one. 0: the queue is empty or nothing may be accepted now. */
static int accept_one(struct lb_listeners *listeners, struct lb_plane *plane, uint32_t listener)
{
    if (!has_room(plane)) {
        pause_accepting(listeners, plane, 0);
        return 0;
    }
    int fd = accept4(listeners->fds[listener], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        lb_session_open(plane, fd, listener);
        return 1;
    }
    if (errno == EAGAIN)
        return 0;
    lb_add(&plane->row->accept_errors, 1);
    if (concerns_one_client(errno))
        return 1;
    pause_accepting(listeners, plane, lb_now_ms(plane) + ERROR_PAUSE_MS); /* EMFILE, ENFILE, ENOBUFS, ENOMEM */
    return 0;
}

void lb_listeners_event(struct lb_listeners *listeners, struct lb_plane *plane, uint32_t listener)
{
    if (listeners->paused || listener >= listeners->count || listeners->fds[listener] < 0)
        return;
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++)
        if (!accept_one(listeners, plane, listener))
            return;
}

void lb_listeners_remove(struct lb_listeners *listeners, struct lb_plane *plane, uint32_t listener)
{
    if (listener >= listeners->count || listeners->fds[listener] < 0)
        return;
    while (accept_one(listeners, plane, listener))
        ;
    close(listeners->fds[listener]);
    listeners->fds[listener] = -1;
}

void lb_listeners_resume(struct lb_listeners *listeners, struct lb_plane *plane)
{
    if (!listeners->paused || !has_room(plane) || lb_now_ms(plane) < listeners->retry_ms)
        return;
    listeners->paused = 0;
    listeners->retry_ms = 0;
    set_interest(listeners, plane, EPOLLIN);
}

int lb_listeners_wait(const struct lb_listeners *listeners, const struct lb_plane *plane)
{
    if (!listeners->paused || !listeners->retry_ms)
        return -1;
    uint64_t now_ms = lb_now_ms(plane);
    return listeners->retry_ms > now_ms ? (int)(listeners->retry_ms - now_ms) : 0;
}
