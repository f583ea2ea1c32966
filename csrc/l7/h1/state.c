#include "state.h"

#include "idle.h"

/* from \ to                   FREE OPEN LINGERING */
static const uint8_t allowed_h1[3][3] = {
    [LB_H1_FREE] = {0, 1, 0},
    [LB_H1_OPEN] = {1, 0, 1},
    [LB_H1_LINGERING] = {1, 0, 0},
};

void lb_h1_move(struct lb_l7 *l7, struct lb_h1 *h1, enum lb_h1_state to)
{
    if (!allowed_h1[h1->state][to] || h1->exchange)
        __builtin_trap();
    if (to == LB_H1_LINGERING)
        l7->lingering++;
    if (h1->state == LB_H1_LINGERING)
        l7->lingering--;
    h1->state = (uint8_t)to;
    if (to == LB_H1_FREE)
        lb_timer_cancel(&h1->client.timer);
    else
        lb_h1_rearm(l7, h1);
}
