#include "finish.h"

#include "../table/account.h"
#include "belongs.h"
#include "charge.h"
#include "input.h"
#include "request_log.h"
#include "sendq.h"
#include "stage.h"
#include "state.h"

static void leave_exchange(struct lb_l7 *l7, struct lb_http *client, int whole)
{
    struct lb_worker_row *row = l7->ctx->row;
    lb_http_drop_flow(l7, &client->up);
    lb_http_drop_flow(l7, &client->down);
    if (client->open)
        lb_http_log(l7, client, LB_ENDED_DONE, client->status, NULL);
    lb_http_leave_backend(l7, client, !whole ? LB_CONN_CUT : client->conn_keeps ? LB_CONN_KEEP : LB_CONN_PART);
    if (client->open) {
        client->open = 0;
        lb_add(&row->requests_active, UINT64_MAX);
        lb_add(&row->requests_done, 1);
    }
    if (client->in != LB_SLAB_NONE)
        lb_http_consume(l7, client);
}

struct lb_verdict lb_http_finish(struct lb_l7 *l7, struct lb_http *client)
{
    int whole = lb_http_has_asked_all(client), goes_on = client->persistent && (whole || client->unsent);
    if (!goes_on && client->client.tls && lb_side_finish(&client->client) < 0) {
        client->client.writable = 0;
        return lb_verdict(LB_NEXT_WAIT);
    }
    leave_exchange(l7, client, whole);
    lb_http_moved(l7, client);
    if (goes_on) {
        lb_http_move(l7, client, LB_HTTP_READING);
        return lb_verdict(LB_NEXT_AGAIN);
    }
    if (!client->client.tls) /* before a close, too: what waits for it must go out whatever has come meanwhile */
        (void)lb_side_finish(&client->client);
    if ((whole && lb_http_is_drained(client)) || !lb_http_listener(l7, client)->lingering_time_ms)
        return lb_verdict_end(LB_END_DONE);
    return lb_verdict(LB_NEXT_LINGER);
}
