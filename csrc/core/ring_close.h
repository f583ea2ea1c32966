/* The end of a socket that a ring serves. */
#ifndef LB_RING_CLOSE_H
#define LB_RING_CLOSE_H

#include "ring_socket.h"

/* Close it, and its descriptor with the next submit. What is being sent goes out first, unless it is to be reset (SO_LINGER is set by then). */
void lb_ring_close_socket(struct lb_ring_socket *socket, int reset);

#endif
