/* The states of a client that speaks HTTP/1, and the moves between them. The driver's alone. */
#ifndef LB_H1_STATE_H
#define LB_H1_STATE_H

#include "h1.h"
#include "../l7.h"

static inline uint32_t lb_h1_index(const struct lb_l7 *l7, const struct lb_h1 *h1)
{
    return lb_slab_index(&l7->clients, h1);
}

/* The one place where its state changes; its timer follows. */
void lb_h1_move(struct lb_l7 *l7, struct lb_h1 *h1, enum lb_h1_state to);

#endif
