/* The loop by io_uring: the ring serves the sockets of clients and backends, and tells when the poller has events of anything else. */
#ifndef LB_LOOP_URING_H
#define LB_LOOP_URING_H

#include "uring.h"

/* As epoll_wait, or -errno. */
__attribute__((warn_unused_result)) int lb_uring_wait(struct lb_uring *uring, struct epoll_event *events, int room,
                                                      int timeout_ms);

#endif
