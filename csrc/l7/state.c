#include "state.h"

#include "deadline.h"
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

/* from \ to                   BEGUN QUEUED CONNECTING FORWARDING RESPONDING */
static const uint8_t allowed[5][5] = {
    [LB_EXCHANGE_BEGUN] = {0, 1, 1, 1, 1},      [LB_EXCHANGE_QUEUED] = {1, 0, 0, 0, 1}, /* to begun: it is looked at again */
    [LB_EXCHANGE_CONNECTING] = {0, 1, 1, 1, 1},                                         /* to queued: the others are full */
    [LB_EXCHANGE_FORWARDING] = {1, 0, 0, 0, 1}, [LB_EXCHANGE_RESPONDING] = {0, 0, 0, 0, 0},
};

void lb_http_move(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_exchange_state to)
{
    if (!allowed[exchange->state][to])
        __builtin_trap();
    exchange->state = (uint8_t)to;
    lb_http_rearm(l7, exchange);
}
