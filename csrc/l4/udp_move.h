/* Sessions of datagrams go over to the worker that replaces theirs: the kernel keeps a client with one socket, and both workers hold
 * that socket, so only one of them may read it.
 *
 * The new worker has the sockets and does not read them. The old one stops reading them, sends each session with its backend's socket
 * (SCM_RIGHTS), and closes the channel. Then the new one reads: what came meanwhile waited in the sockets. A worker that is dead or
 * hangs holds the other one up for LB_MOVE_LIMIT_MS at most. */
#ifndef LB_UDP_MOVE_H
#define LB_UDP_MOVE_H

#include "udp_socket.h"

enum { LB_MOVE_LIMIT_MS = 1000 };

/* Send our sessions by this socket (SOCK_SEQPACKET, not blocking; owned from now on), and read no client any more. */
void lb_udp_move_to(struct lb_udp *udp, int successor);

/* The sessions of the worker before come by this one (likewise), before sockets that wait are read. */
void lb_udp_move_from(struct lb_udp *udp, int predecessor);

/* An event on either: LB_TAG_SUCCESSOR, LB_TAG_PREDECESSOR. */
void lb_udp_move_send(struct lb_udp *udp);
void lb_udp_move_receive(struct lb_udp *udp);

/* Nobody is to be waited for: sockets that wait are read from now on. */
void lb_udp_move_read_all(struct lb_udp *udp);

/* Does some session wait to be sent? */
static inline int lb_udp_is_moving(const struct lb_udp *udp)
{
    return udp->successor >= 0;
}

/* At the end of a turn; milliseconds until that is wanted, -1: it is not. */
void lb_udp_move_turn(struct lb_udp *udp);
int lb_udp_move_wait(const struct lb_udp *udp);

void lb_udp_move_close(struct lb_udp *udp);

#endif
