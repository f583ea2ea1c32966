/* What a worker waits with: descriptors that are watched under a tag, and the list of events that a wait returns. The bits of events are
 * those of epoll(7). One thread's own. */
#ifndef LB_LOOP_H
#define LB_LOOP_H

#include <stdint.h>
#include <sys/epoll.h>

/* Of a socket that moves bytes: both directions, and its end, as edges. */
enum { LB_LOOP_EDGES = EPOLLIN | EPOLLOUT | EPOLLRDHUP };

/* What is known of a socket that the loop is to serve from now on. */
enum lb_attaching {
    LB_ATTACH_FRESH,      /* nobody watches it yet */
    LB_ATTACH_BRIEF,      /* nor this one, which may be over after one message */
    LB_ATTACH_CONNECTING, /* nor this one; its connect is under way, or was done at once */
    LB_ATTACH_WATCHED,    /* the loop does, under another tag: what is there to be told is told again */
};

struct lb_loop {
    int poller;             /* -1: not open */
    struct lb_uring *uring; /* by which sockets are served, the opener's; NULL: by epoll */
    uint8_t more;           /* the last wait has not told all */
};

/* uring: NULL: epoll serves all. 0, or -errno. */
__attribute__((warn_unused_result)) int lb_loop_open(struct lb_loop *loop, struct lb_uring *uring);
void lb_loop_close(struct lb_loop *loop);

/* Watch a descriptor for these events, as levels unless EPOLLET is among them: 0, or -errno. */
__attribute__((warn_unused_result)) int lb_loop_watch(struct lb_loop *loop, int fd, uint32_t events, uint64_t tag);

/* For others, or under another tag; 0: only errors. */
int lb_loop_change(struct lb_loop *loop, int fd, uint32_t events, uint64_t tag);

/* No longer. To close a descriptor is enough where no other process has it. */
void lb_loop_unwatch(struct lb_loop *loop, int fd);

/* Serve a socket of a client or a backend for its whole life: 0, or -errno. */
__attribute__((warn_unused_result)) int lb_loop_attach(struct lb_loop *loop, int fd, uint64_t tag, enum lb_attaching how);

/* Wait for events: how many came, at most `room`, or -errno. timeout_ms: -1 for as long as it takes. */
__attribute__((warn_unused_result)) int lb_loop_wait(struct lb_loop *loop, struct epoll_event *events, int room, int timeout_ms);

/* Let so much time pass, with all submitted that is to be done meanwhile. */
void lb_loop_pause(struct lb_loop *loop, uint32_t us);

/* Sockets that were closed are closed at once, and their descriptors free. */
void lb_loop_settle(struct lb_loop *loop);

/* Is all that was sent with the kernel's sockets? */
int lb_loop_has_sent_all(const struct lb_loop *loop);

#endif
