/* A backend for a session: picked, charged with it, and the decision noted. */
#ifndef LB_PICK_H
#define LB_PICK_H

#include "worker_context.h"

struct lb_picked {
    uint32_t pool;
    uint32_t cost;
    uint64_t key; /* what maglev keeps together */
    const uint32_t *tried;
    uint32_t tried_count;
    uint8_t datagrams; /* udp */
};

/* The backend's row, or LB_NONE; *decision names the decision for lb_why_end. */
uint32_t lb_pick_backend(struct lb_worker_context *ctx, const struct lb_picked *claim, uint32_t *decision);

#endif
