/* What the kernel knows of a TCP connection's acknowledgements. */
#ifndef LB_TCP_STATE_H
#define LB_TCP_STATE_H

#include <stdint.h>

struct lb_tcp_state {
    uint32_t acked;       /* bytes that the peer has acknowledged, low 32 bits */
    uint32_t last_ack_ms; /* how long ago its last acknowledgement came */
    uint8_t outstanding;  /* bytes, or a FIN, are sent and not acknowledged, or wait to be sent */
    uint8_t owes;         /* the last segment or window probe was not answered */
    uint8_t closed;       /* the peer's receive window is shut: probes go out, ever more rarely */
};

/* 0, or -errno. */
__attribute__((warn_unused_result)) int lb_tcp_ask(int fd, struct lb_tcp_state *state);

/* Have what is not answered sent again at least so often (TCP_RTO_MAX_MS, Linux 6.15; older kernels do so every 2 minutes at least).
 * True, if it is done: to be undone before the socket is closed, for a closed socket with an open peer is given up sooner with it. */
int lb_tcp_hurry(int fd, uint32_t most_ms);
void lb_tcp_unhurry(int fd);

#endif
