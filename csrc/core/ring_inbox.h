/* What a ring has received for a socket, until it is read. */
#ifndef LB_RING_INBOX_H
#define LB_RING_INBOX_H

#include <sys/types.h>

#include "uring.h"

/* As recv with MSG_DONTWAIT, and with MSG_PEEK. */
ssize_t lb_ring_recv(struct lb_ring_socket *socket, void *bytes, size_t count);
ssize_t lb_ring_peek(const struct lb_ring_socket *socket, void *bytes, size_t count);

/* Bytes that wait to be read, counted up to `most`; -1: they are not known now. */
ssize_t lb_ring_waiting(const struct lb_ring_socket *socket, size_t most);

/* A receive has brought something, or has ended. */
void lb_ring_received(struct lb_uring *uring, const struct lb_cqe *cqe);

#endif
