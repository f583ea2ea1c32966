#include "state.h"

#include "deadline.h"

/* from \ to        FREE READING QUEUED CONNECTING EXCHANGE RESPONDING LINGERING */
static const uint8_t allowed[7][7] = {
    [LB_HTTP_FREE] = {0, 1, 0, 0, 0, 0, 0},       [LB_HTTP_READING] = {1, 0, 1, 1, 1, 1, 1},
    [LB_HTTP_QUEUED] = {1, 1, 0, 0, 0, 1, 0}, /* to reading: it is looked at again */
    [LB_HTTP_CONNECTING] = {1, 0, 1, 1, 1, 1, 0}, /* to queued: the others are full */
    [LB_HTTP_EXCHANGE] = {1, 1, 0, 0, 0, 1, 1},   [LB_HTTP_RESPONDING] = {1, 1, 0, 0, 0, 0, 1},
    [LB_HTTP_LINGERING] = {1, 0, 0, 0, 0, 0, 0},
};

void lb_http_move(struct lb_l7 *l7, struct lb_http *client, enum lb_http_state to)
{
    if (!allowed[client->state][to])
        __builtin_trap();
    if (to == LB_HTTP_LINGERING)
        l7->lingering++;
    if (client->state == LB_HTTP_LINGERING)
        l7->lingering--;
    client->state = (uint8_t)to;
    if (to == LB_HTTP_FREE)
        lb_timer_cancel(&client->timer);
    else
        lb_http_rearm(l7, client);
}
