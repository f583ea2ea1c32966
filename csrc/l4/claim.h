/* A backend for a session: picked, charged with it, and the decision noted. */
#ifndef LB_CLAIM_H
#define LB_CLAIM_H

#include "plane.h"

struct lb_claim {
    uint32_t pool;
    uint32_t cost;
    uint64_t key; /* what maglev keeps together */
    const uint32_t *tried;
    uint32_t tried_count;
    uint8_t datagrams; /* udp */
};

/* The backend's row, or LB_NONE; *decision names the decision for lb_why_end. */
uint32_t lb_claim_backend(struct lb_plane *plane, const struct lb_claim *claim, uint32_t *decision);

#endif
