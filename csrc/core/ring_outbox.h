/* What a ring sends for a socket: one send is under way at most, and what is sent before the kernel has that goes with it. */
#ifndef LB_RING_OUTBOX_H
#define LB_RING_OUTBOX_H

#include <sys/types.h>
#include <sys/uio.h>

#include "uring.h"

/* As sendmsg with MSG_DONTWAIT and these flags. */
ssize_t lb_ring_send(struct lb_ring_socket *socket, struct iovec *parts, size_t count, int flags);

/* May a splice write to it now? If not, an event says when. */
int lb_ring_may_splice_to(struct lb_ring_socket *socket);

/* A call has found no room: have an event say when there is. */
void lb_ring_wants_room(struct lb_ring_socket *socket);

/* Nothing more will be sent: FIN, behind the send under way. */
void lb_ring_finish(struct lb_ring_socket *socket);

/* The list of events is full, and completions are left: take those of sends that do not insist. */
void lb_ring_look_for_sends(struct lb_uring *uring);

/* All that the kernel had to tell of sends that do not insist is told: those of which nothing was are done. */
void lb_ring_sent_quick(struct lb_uring *uring);

/* A send is done, or found no room. */
void lb_ring_sent(struct lb_uring *uring, const struct lb_cqe *cqe);

/* The socket is about to be closed with a send under way: the kernel ends it behind that, unless it is to be reset. */
void lb_ring_part_from_send(struct lb_ring_socket *socket, int reset);

#endif
