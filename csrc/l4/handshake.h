/* TLS handshakes of clients: the last stage of a preread. Each costs a private key's work, up to a millisecond: a turn makes as many as it
 * has time for, the rest waits for the next, so that those who are served already are not kept waiting. */
#ifndef LB_HANDSHAKE_H
#define LB_HANDSHAKE_H

#include "preread_lists.h"

/* The words before it are said: it is next, with the next turn that has room. */
void lb_handshake_begin(struct lb_prereads *prereads, struct lb_preread *preread);
void lb_handshake_event(struct lb_prereads *prereads, struct lb_preread *preread, uint32_t events);

/* Once a turn; milliseconds until that is wanted, -1: it is not. */
void lb_handshakes_turn(struct lb_prereads *prereads);
int lb_handshakes_wait(const struct lb_prereads *prereads);

#endif
