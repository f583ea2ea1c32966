/* What a ring has received for a socket, until it is read. */
#ifndef LB_RING_INBOX_H
#define LB_RING_INBOX_H

#include <sys/types.h>

#include "uring.h"

/* As recv with MSG_DONTWAIT, and with MSG_PEEK. */
ssize_t lb_ring_recv(struct lb_ring_socket *socket, void *bytes, size_t count);
ssize_t lb_ring_peek(const struct lb_ring_socket *socket, void *bytes, size_t count);

/* What a read or a splice that came to the end is to say: 0, or -1 with the errno of a failure that the kernel has told already, to a receive
 * of the ring or to a send. */
ssize_t lb_ring_end(const struct lb_ring_socket *socket);

/* Bytes that wait to be read, counted up to `most`; -1: they are not known now. */
ssize_t lb_ring_waiting(const struct lb_ring_socket *socket, size_t most);

/* A receive has brought something, or has ended. */
void lb_ring_received(struct lb_uring *uring, const struct lb_cqe *cqe);

#endif
