#include "exchanges.h"

#include <string.h>

#include "../l4/sendq.h"
#include "../table/account.h"
#include "belongs.h"
#include "edits.h"
#include "granted.h"
#include "held_route.h"
#include "part.h"
#include "text_body.h"
#include "twin.h"

/* All but the timer is new. */
struct lb_exchange *lb_exchange_take(struct lb_l7 *l7, struct lb_http_client *client)
{
    struct lb_exchange *exchange = lb_slab_at(&l7->exchanges, lb_slab_take(&l7->exchanges));
    memset((char *)exchange + sizeof exchange->timer, 0, sizeof *exchange - sizeof exchange->timer);
    exchange->client = client;
    exchange->in = (struct lb_input){.buffer = LB_SLAB_NONE};
    exchange->conn = exchange->part = exchange->log = LB_SLAB_NONE;
    exchange->reading = exchange->caller = exchange->edited = exchange->text = exchange->way = exchange->granted = LB_SLAB_NONE;
    exchange->backend = exchange->waits_for = LB_NONE;
    exchange->reached_us = exchange->first_us = LB_NEVER_US;
    exchange->began_us = l7->ctx->now_us;
    exchange->since_ms = (uint32_t)lb_now_ms(l7->ctx);
    return exchange;
}

void lb_exchange_give(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    lb_sendq_drop(l7->ctx, &exchange->up);
    lb_sendq_drop(l7->ctx, &exchange->down);
    lb_http_drop_part(l7, exchange);
    lb_http_drop_reading(l7, exchange);
    lb_text_drop(l7, exchange);
    lb_twin_forget_asker(l7, exchange);
    lb_granted_drop(l7, exchange);
    lb_http_leave_route(l7, exchange);
    lb_http_drop_caller(l7, exchange);
    if (exchange->way != LB_SLAB_NONE)
        lb_slab_give(&l7->ways, exchange->way);
    lb_edits_drop(l7, exchange);
    exchange->client = NULL;
    lb_slab_give(&l7->exchanges, lb_http_index(l7, exchange));
}
