#include "preread_end.h"

#include "admit.h"

void lb_preread_let_go(struct lb_prereads *prereads, struct lb_preread *preread)
{
    lb_preread_shakes_no_more(prereads, preread);
    lb_timer_cancel(&preread->timer);
    preread->live = 0;
    preread->generation++;
    prereads->ctx->prereads--;
    if (!preread->queued) /* else the list gives it back */
        lb_slab_give(&prereads->slab, lb_preread_index(prereads, preread));
}

void lb_preread_refuse(struct lb_prereads *prereads, struct lb_preread *preread, enum lb_end why)
{
    struct lb_side client = {.fd = preread->accepted.fd, .tls = preread->accepted.tls};
    lb_ends_drop(prereads->ctx, &preread->accepted.ends);
    lb_preread_let_go(prereads, preread);
    lb_count_refused(prereads->ctx, why);
    lb_side_close(&client, 0);
}

void lb_preread_hand_on(struct lb_prereads *prereads, struct lb_preread *preread)
{
    struct lb_accepted accepted = preread->accepted;
    accepted.watched = 1;
    lb_preread_let_go(prereads, preread);
    prereads->done(prereads->context, &accepted);
}
