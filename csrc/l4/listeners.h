/* The listening sockets of a worker: handed to it, accepted from, paused at a bound, drained before they are closed. */
#ifndef LB_LISTENERS_H
#define LB_LISTENERS_H

#include "worker_context.h"

struct lb_listener {
    int fd;          /* -1: not served */
    uint8_t closing; /* to be closed as soon as its queue is empty */
    uint8_t own;     /* LB_LISTEN_OWN */
    uint8_t ends;    /* it is closing for good: no other worker takes its place */
    uint8_t local;   /* bound to a loopback address: all its clients are, and inherit their congestion control from it */
};

/* What becomes of an accepted connection, by its listener's mode; the descriptor is the taker's. */
typedef void (*lb_accept_fn)(void *context, int client, uint32_t listener, const union lb_address *peer);

struct lb_listeners {
    lb_accept_fn take;
    void *context;
    struct lb_listener *at; /* by listener row */
    uint32_t count;         /* listener rows of the segment */
    uint32_t open;
    uint8_t paused;    /* at a bound: nothing is accepted */
    uint64_t retry_ms; /* when to try again after an error that no ending session cures; 0: none is waited for */
};

__attribute__((warn_unused_result)) int lb_listeners_open(struct lb_listeners *listeners, uint32_t count, lb_accept_fn take,
                                                          void *context);
void lb_listeners_close(struct lb_listeners *listeners);

/* Serve a socket (owned from now on, also on failure). */
__attribute__((warn_unused_result)) int lb_listeners_add(struct lb_listeners *listeners, struct lb_worker_context *ctx,
                                                         uint32_t listener, int fd, int own);

/* Accept what is queued on it, then close it: at a bound that waits until there is room. A socket with a queue is never closed
 * (lb_listeners_close, at the worker's end, excepted). ends: nobody serves it after us; one of our own is shut down then. */
void lb_listeners_remove(struct lb_listeners *listeners, struct lb_worker_context *ctx, uint32_t listener, int ends);

/* An epoll event on it. */
void lb_listeners_event(struct lb_listeners *listeners, struct lb_worker_context *ctx, uint32_t listener);

/* Go on accepting once there is room, and the time of an error has passed. */
void lb_listeners_resume(struct lb_listeners *listeners, struct lb_worker_context *ctx);

/* Milliseconds until lb_listeners_resume has something to do by time; -1: nothing. */
int lb_listeners_wait(const struct lb_listeners *listeners, const struct lb_worker_context *ctx);

#endif
