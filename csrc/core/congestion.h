/* Congestion control on loopback. BBR sends by a timer, at the rate that it believes a path to have; on a wire that keeps queues short.
 * A loopback address has no wire and no queue: there the timers, an interrupt for a few packets, are all that comes of it. So where BBR
 * is the host's choice, sockets whose peer is a loopback address get an algorithm that does not pace; all others keep the host's. */
#ifndef LB_CONGESTION_H
#define LB_CONGESTION_H

/* What sockets to loopback peers are given; NULL: the host's choice does not pace, or nothing else may be had here. */
const char *lb_congestion_for_loopback(void);

/* A socket, or a listening one: those that it accepts inherit it. Without it the socket works as well, at a price: errors are none. */
void lb_congestion_set(int fd, const char *name);

#endif
