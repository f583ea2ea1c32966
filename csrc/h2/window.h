/* Flow control (RFC 9113 5.2 and 6.9): what may be sent, and what was taken and is to be allowed anew. */
#ifndef LB_WINDOW_H
#define LB_WINDOW_H

#include <stdint.h>

#include "names.h"

/* What a peer lets us send, bytes. A smaller SETTINGS_INITIAL_WINDOW_SIZE makes it negative (6.9.2). */
struct lb_h2_window {
    int32_t left;
};

/* WINDOW_UPDATE. -1: over 2^31-1, FLOW_CONTROL_ERROR (6.9.1). */
__attribute__((warn_unused_result)) int lb_h2_window_add(struct lb_h2_window *window, uint32_t bytes);

/* The peer's initial window changed from `before` to `now`. -1: over 2^31-1. */
__attribute__((warn_unused_result)) int lb_h2_window_shift(struct lb_h2_window *window, uint32_t before, uint32_t now);

/* How many of the wanted bytes may go: the smaller of both windows, and not more than a frame. */
uint32_t lb_h2_window_grant(const struct lb_h2_window *stream, const struct lb_h2_window *connection, uint32_t wanted);

/* What we let a peer send. */
struct lb_h2_credit {
    int32_t left;   /* bytes that the peer may still send */
    uint32_t owed;  /* bytes that are done with and not yet allowed anew */
    uint32_t whole; /* the window when nothing is under way */
};

void lb_h2_credit_open(struct lb_h2_credit *credit, uint32_t whole);

/* The peer sent so many. -1: more than it was allowed, FLOW_CONTROL_ERROR. */
__attribute__((warn_unused_result)) int lb_h2_credit_spend(struct lb_h2_credit *credit, uint32_t bytes);

/* So many are done with. The increment that WINDOW_UPDATE is to say now, or 0: small ones are put together, since each costs the peer
 * a frame; a peer has at least half of its window all the same. */
uint32_t lb_h2_credit_return(struct lb_h2_credit *credit, uint32_t bytes);

#endif
