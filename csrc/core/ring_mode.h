/* Who reads a socket: the ring, or calls where epoll says that there is something. */
#ifndef LB_RING_MODE_H
#define LB_RING_MODE_H

#include "uring.h"

/* Serve a socket, at first so: 0, or -errno. watched: by epoll, under another tag. One that is served already only gets another tag. */
__attribute__((warn_unused_result)) int lb_ring_attach(struct lb_uring *uring, int fd, uint64_t tag, enum lb_ring_mode mode,
                                                       int watched);

/* It is connected: the ring receives. */
void lb_ring_begin(struct lb_ring_socket *socket);

/* No longer by the ring: as soon as what is under way is cancelled, epoll has it. */
void lb_ring_leave(struct lb_ring_socket *socket);

/* The ring receives nothing for it any more: epoll has it at once, or, later, when the next wait begins. */
void lb_ring_go_direct(struct lb_ring_socket *socket);
void lb_ring_go_direct_later(struct lb_ring_socket *socket);
void lb_ring_watch_listed(struct lb_uring *uring);

/* May a splice read from it now? If not, it leaves the ring, and an event says when. */
int lb_ring_may_splice_from(struct lb_ring_socket *socket);

/* By the ring again. */
void lb_ring_return(struct lb_ring_socket *socket);

/* End the operation of this word. */
void lb_ring_cancel(struct lb_uring *uring, uint64_t word);

#endif
