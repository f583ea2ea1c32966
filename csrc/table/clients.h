/* What listeners that limit their clients know of each: sessions that are open, and when it may come again. One table for all
 * workers, of fixed size. A client is an IPv4 address, or the first 64 bits of an IPv6 address: that is what one customer is given
 * (RFC 6177).
 *
 * Who is in the table is agreed on by compare-and-swap; open sessions are counted by each worker in its own section, so that a dead
 * worker's go with it. A row that has nothing open and owes no time says nothing, and is anybody's. Where there is none, the one that
 * has nothing open and owes least is forgotten; where all have sessions open, the accepted is served uncounted: refusing it would let
 * those who have many addresses lock out the others. max_sessions bounds them all. */
#ifndef LB_CLIENTS_H
#define LB_CLIENTS_H

#include "shm.h"

enum lb_client_verdict {
    LB_CLIENT_ADMITTED,
    LB_CLIENT_TOO_MANY, /* it has max_client_sessions open */
    LB_CLIENT_TOO_FAST, /* it opens more than client_session_rate */
};

/* Count another session of a client: *counted says where, 0: nowhere. Not admitted: nothing is counted. */
__attribute__((warn_unused_result)) enum lb_client_verdict lb_client_admit(const struct lb_shm *shm, uint32_t worker,
                                                                           uint32_t listener, const uint8_t ip[16],
                                                                           uint64_t now_us, uint32_t *counted);

/* Likewise without asking: of a client that was there before it was limited. */
uint32_t lb_client_count(const struct lb_shm *shm, uint32_t worker, uint32_t listener, const uint8_t ip[16], uint64_t now_us);

/* Its session is over. */
void lb_client_leave(const struct lb_shm *shm, uint32_t worker, uint32_t counted);

/* A request of a client that is counted: 0, or seconds after which it may ask again, rounded up. */
uint32_t lb_client_asks(const struct lb_shm *shm, uint32_t listener, uint32_t counted, uint64_t now_us);

/* A dead worker's sessions are over. */
void lb_clients_bury(const struct lb_shm *shm, uint32_t worker);

#endif
