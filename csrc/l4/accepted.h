/* A client that is ready to be served. */
#ifndef LB_ACCEPTED_H
#define LB_ACCEPTED_H

#include <stdint.h>

#include "../core/net.h"

struct lb_tls;

struct lb_accepted {
    int fd;
    int watched;          /* by the poller, under another tag */
    uint32_t listener;    /* row */
    uint32_t pool;        /* row, or LB_NO_POOL: nobody serves it. Of a client of mode http it says nothing */
    uint32_t accepted_us; /* monotonic, low 32 bits */
    struct lb_tls *tls;   /* its handshake is over; NULL: it speaks none */
    struct lb_ends ends;
};

#endif
