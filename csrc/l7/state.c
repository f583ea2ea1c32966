#include "state.h"

#include "deadline.h"
#include "twin.h"

/* from \ to                   BEGUN QUEUED CONNECTING FORWARDING RESPONDING READING ASKING */
static const uint8_t allowed[7][7] = {
    [LB_EXCHANGE_BEGUN] = {0, 1, 1, 1, 1, 1, 1},
    [LB_EXCHANGE_QUEUED] = {1, 0, 0, 0, 1, 0, 0},     /* to begun: it is looked at again */
    [LB_EXCHANGE_CONNECTING] = {0, 1, 1, 1, 1, 0, 0}, /* to queued: the others are full */
    [LB_EXCHANGE_FORWARDING] = {1, 0, 0, 0, 1, 0, 0},
    [LB_EXCHANGE_RESPONDING] = {0, 0, 0, 0, 0, 0, 0},
    [LB_EXCHANGE_READING] = {0, 1, 1, 1, 1, 1, 1}, /* to reading: for its pool, after its route */
    [LB_EXCHANGE_ASKING] = {0, 1, 1, 1, 1, 1, 1},  /* to asking: by other routes, which are there since */
};

void lb_http_move(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_exchange_state to)
{
    if (!allowed[exchange->state][to])
        __builtin_trap();
    if (exchange->state == LB_EXCHANGE_ASKING && to != LB_EXCHANGE_ASKING) /* else it is another question */
        lb_twin_forget_asker(l7, exchange);
    exchange->state = (uint8_t)to;
    lb_http_rearm(l7, exchange);
}
