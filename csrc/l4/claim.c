#include "claim.h"

#include "../table/view.h"
#include "../table/why.h"

uint32_t lb_claim_backend(struct lb_plane *plane, const struct lb_claim *claim, uint32_t *decision)
{
    struct lb_thought thought;
    struct lb_wish wish = {.tried = claim->tried,
                           .tried_count = claim->tried_count,
                           .worker = plane->worker,
                           .now_ms = (uint32_t)lb_now_ms(plane),
                           .key = claim->key,
                           .datagrams = claim->datagrams,
                           .thought = &thought};
    uint32_t backend = lb_view_claim(&plane->shm, claim->pool, &wish, &plane->cursors[claim->pool], claim->cost);
    struct lb_pick picked = {plane->now_us, plane->worker, claim->pool, backend, claim->cost, claim->tried_count, &thought};
    *decision = lb_why_note(&plane->shm, &picked);
    return backend;
}
