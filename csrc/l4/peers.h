/* Do both peers acknowledge what they are sent?
 *
 * TCP_USER_TIMEOUT asks the kernel to see to that, but Linux counts the time in which the peer's window is shut as well
 * (tcp_probe_timer): a peer that reads nothing for a while, and answers every window probe, is reset. So that option stays off, and
 * whoever owns two sides looks at them now and then, about four times in a `user_timeout`. A peer that owes an acknowledgement at a look, and has
 * sent none `user_timeout` later, is dead. The same look tells a slow reader from an idle one: its acknowledgements go on. */
#ifndef LB_PEERS_H
#define LB_PEERS_H

#include "side.h"

/* Zero before the first look. */
struct lb_peers {
    uint32_t since;    /* monotonic ms, low 32 bits, of which the lowest two say what was seen then (peers.c) */
    uint16_t acked[2]; /* digests of how much each had acknowledged */
};

enum lb_peers_verdict { LB_PEERS_LIVE, LB_CLIENT_IS_DEAD, LB_BACKEND_IS_DEAD };

struct lb_look {
    struct lb_side *side[2]; /* of the client, of the backend */
    uint32_t now_ms;
    uint32_t moved_ms;   /* when a byte last moved */
    uint32_t timeout_ms; /* user_timeout; 0: nobody is dead */
    /* what came of it */
    uint32_t owed_ms;     /* how long one of them has owed an acknowledgement; 0: none does */
    uint32_t acked_ms[2]; /* when each acknowledged something last ... */
    uint8_t took[2];      /* ... if it has acknowledged bytes since the last look: it is slow, not idle */
};

enum lb_peers_verdict lb_peers_look(struct lb_peers *peers, struct lb_look *look);

/* How long until the next look. limit_ms: what else ends a connection that moves nothing. */
uint32_t lb_peers_next_ms(const struct lb_look *look, uint64_t limit_ms);

/* The later one of two times, monotonic, low 32 bits. */
static inline uint32_t lb_later_ms(uint32_t a_ms, uint32_t b_ms)
{
    return (int32_t)(a_ms - b_ms) > 0 ? a_ms : b_ms;
}

#endif
