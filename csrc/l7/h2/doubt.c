#include "doubt.h"

#include "../belongs.h"
#include "servers.h"

enum { DOUBT_MS = 200 };

int lb_h2_doubt(struct lb_l7 *l7, struct lb_h2_call *call)
{
    struct lb_h2_server *server = call->server;
    if (!call->doubted) {
        call->doubted = 1;
        call->doubted_ms = (uint32_t)lb_now_ms(l7->ctx);
        server->doubts++;
    }
    uint32_t left = lb_left_ms(l7->ctx, call->doubted_ms, DOUBT_MS);
    if (left)
        lb_timer_set_within(&l7->servers.wheel, &server->timer, lb_now_ms(l7->ctx) + left);
    return left > 0;
}

void lb_h2_doubts_ready(struct lb_l7 *l7, const struct lb_h2_server *server)
{
    for (struct lb_h2_call *call = server->doubts ? server->oldest : NULL; call; call = call->newer)
        if (call->doubted)
            lb_h2_call_ready(l7, call);
}
