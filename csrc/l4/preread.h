/* Accepted connections before they are served: a PROXY header from a trusted peer is taken out of the socket, a ClientHello on a
 * listener of mode tls is peeked at and stays, and where TLS ends here, its handshake is made. */
#ifndef LB_PREREAD_H
#define LB_PREREAD_H

#include "preread_lists.h"

/* most: connections; most_shaking: handshakes under way at once. */
__attribute__((warn_unused_result)) int lb_prereads_open(struct lb_prereads *prereads, struct lb_worker_context *ctx,
                                                         uint32_t most, uint32_t most_shaking);
void lb_prereads_close(struct lb_prereads *prereads);

/* Must this peer say something first? */
int lb_preread_is_due(const struct lb_worker_context *ctx, uint32_t listener, const union lb_address *peer);

/* Take over an accepted connection; the caller has seen that there is room. */
void lb_preread_open(struct lb_prereads *prereads, const struct lb_accepted *accepted);

/* An epoll event on one of them. */
void lb_preread_event(struct lb_prereads *prereads, uint32_t index, uint32_t generation, uint32_t events);

/* At the end of a turn: handshakes, as many as a turn has time for, and those that took too long. */
void lb_prereads_turn(struct lb_prereads *prereads);

/* Milliseconds until lb_prereads_turn has something to do by time; -1: nothing; 0: at once. */
int lb_prereads_wait(const struct lb_prereads *prereads);

/* End all. */
void lb_prereads_stop(struct lb_prereads *prereads);

#endif
