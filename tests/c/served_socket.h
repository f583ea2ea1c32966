/* A socket over loopback that a loop with a ring serves, and what it is told of. */
#ifndef LB_TEST_SERVED_SOCKET_H
#define LB_TEST_SERVED_SOCKET_H

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/io.h"
#include "core/loop.h"
#include "core/uring_trial.h"

#include "check.h"

enum { TAG = 70, ROOM = 64, PATIENCE_MS = 2000 };

static struct lb_loop loop;
static struct epoll_event events[ROOM];

/* A connection over loopback: the loop serves `ours`. */
static inline void meet(int *ours, int *peer)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&at, &length) == 0);
    *peer = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(*peer, (struct sockaddr *)&at, sizeof at) == 0);
    *ours = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    CHECK(*ours >= 0 && close(listener) == 0);
    CHECK(lb_loop_attach(&loop, *ours, TAG, LB_ATTACH_FRESH) == 0);
}

/* All events of one wait, of our socket. */
static inline uint32_t told(int timeout_ms)
{
    uint32_t found = 0;
    int count = lb_loop_wait(&loop, events, ROOM, timeout_ms);
    CHECK(count >= 0);
    for (int i = 0; i < count; i++) {
        CHECK(events[i].data.u64 == TAG);
        found |= events[i].events;
    }
    return found;
}

static inline uint32_t told_of(uint32_t what)
{
    uint32_t found = 0;
    for (int i = 0; i < 20 && !(found & what); i++)
        found |= told(PATIENCE_MS / 20);
    CHECK(found & what);
    return found;
}

static inline uint16_t buffers_out(void)
{
    uint16_t count = 0;
    const struct lb_ring_socket *served = NULL;
    for (int fd = 0; fd < 64; fd++)
        if ((served = lb_ring_socket_of(fd)))
            for (uint16_t id = served->first; id != LB_RING_NO_BUFFER; id = loop.uring->buffers.filled[id].next)
                count++;
    return count;
}

static inline void begin(void)
{
    struct lb_uring *uring;
    CHECK(lb_uring_open(&uring) == 0);
    CHECK(lb_loop_open(&loop, uring) == 0);
}

static inline void end(void)
{
    struct lb_uring *uring = loop.uring;
    (void)told(0);
    CHECK(lb_loop_has_sent_all(&loop));
    CHECK(buffers_out() == 0);
    lb_loop_close(&loop);
    lb_uring_close(uring);
}

/* Is there no io_uring here? Says so. */
static inline int has_no_ring(void)
{
    int error = lb_uring_try();
    int is_refused = error == -EPERM || error == -ENOSYS || error == -EINVAL;
    if (is_refused)
        printf("skipped: no io_uring here\n");
    return is_refused;
}

#endif
