/* Listeners of mode udp: sessions by client address, each with a connected socket to its backend, so that responses find their way. */
#ifndef LB_UDP_H
#define LB_UDP_H

#include "udp_socket.h"

__attribute__((warn_unused_result)) int lb_udp_open(struct lb_udp *udp, struct lb_worker_context *ctx, uint32_t max_sessions);
void lb_udp_close(struct lb_udp *udp);

/* An epoll event: on a listener's socket; on a session's. */
void lb_udp_listener_event(struct lb_udp *udp, uint32_t listener);
void lb_udp_event(struct lb_udp *udp, uint32_t index, uint32_t generation, uint32_t events);

/* At the end of a turn: send what waits, see to the time. */
void lb_udp_turn(struct lb_udp *udp);
int lb_udp_wait(const struct lb_udp *udp);

/* End the sessions on removed backends; end all. */
void lb_udp_cut(struct lb_udp *udp);
void lb_udp_stop(struct lb_udp *udp);

#endif
