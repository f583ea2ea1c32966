#include "end.h"

#include "../table/account.h"
#include "../table/clients.h"
#include "belongs.h"
#include "charge.h"
#include "input.h"
#include "part.h"
#include "queue.h"
#include "request_log.h"
#include "sendq.h"
#include "state.h"

static uint64_t *ending_counter(struct lb_worker_row *row, enum lb_http_end why)
{
    switch (why) {
    case LB_END_DONE:
        return &row->closed_done;
    case LB_END_CLIENT_LEFT:
        return &row->closed_client_reset;
    case LB_END_BACKEND:
        return &row->closed_backend_reset;
    case LB_END_IDLE:
        return &row->closed_idle;
    case LB_END_SLOW:
        return &row->closed_slow;
    case LB_END_CUT:
        return &row->closed_cut;
    case LB_END_STOPPED:
        return &row->closed_stopped;
    case LB_END_RESOURCE:
        return &row->closed_cut;
    case LB_END_TUNNEL:
        return NULL;
    }
    return NULL;
}

static uint64_t *exchange_counter(struct lb_worker_row *row, enum lb_http_end why)
{
    switch (why) {
    case LB_END_CLIENT_LEFT:
        return &row->requests_client_aborts;
    case LB_END_DONE:
    case LB_END_TUNNEL:
        return &row->requests_done;
    case LB_END_BACKEND:
    case LB_END_IDLE:
    case LB_END_SLOW:
    case LB_END_RESOURCE:
        return &row->requests_failed;
    case LB_END_CUT:
    case LB_END_STOPPED:
        return &row->requests_stopped;
    }
    return &row->requests_failed;
}

static enum lb_end end_of(enum lb_http_end why)
{
    switch (why) {
    case LB_END_DONE:
    case LB_END_TUNNEL:
        return LB_ENDED_DONE;
    case LB_END_CLIENT_LEFT:
        return LB_ENDED_CLIENT;
    case LB_END_BACKEND:
        return LB_ENDED_BACKEND;
    case LB_END_IDLE:
        return LB_ENDED_IDLE;
    case LB_END_SLOW:
        return LB_ENDED_SLOW;
    case LB_END_CUT:
        return LB_ENDED_CUT;
    case LB_END_STOPPED:
        return LB_ENDED_STOPPED;
    case LB_END_RESOURCE:
        return LB_ENDED_RESOURCE;
    }
    return LB_ENDED_DONE;
}

static void give_buffers(struct lb_l7 *l7, struct lb_http *client)
{
    lb_http_drop_flow(l7, &client->up);
    lb_http_drop_flow(l7, &client->down);
    lb_http_drop_in(l7, client);
    lb_http_drop_part(l7, client);
}

static void count_end(struct lb_worker_row *row, struct lb_http *client, enum lb_http_end why)
{
    if (client->open) {
        lb_add(&row->requests_active, UINT64_MAX);
        lb_add(exchange_counter(row, why), 1);
        client->open = 0;
    }
    if (why == LB_END_TUNNEL)
        return;
    lb_add(ending_counter(row, why), 1);
    lb_add(&row->closed, 1);
    lb_add(&row->active, UINT64_MAX);
}

void lb_http_end(struct lb_l7 *l7, struct lb_http *client, enum lb_http_end why)
{
    struct lb_side side = client->client;
    /* a cut response must not be taken for a whole one */
    int reset = why != LB_END_DONE && (client->stage == LB_RESPONSE_BODY || client->down.pending) && client->open;
    if (client->open && why != LB_END_TUNNEL) /* else it was told before */
        lb_http_log(l7, client, end_of(why), client->status, NULL);
    lb_http_leave_queue(l7, client);
    lb_http_leave_backend(l7, client, LB_CONN_CUT);
    lb_conn_drop_own(&l7->conns, &client->own);
    lb_proxy_info_drop(&l7->ctx->proxy_info, client->proxy_info);
    lb_client_leave(&l7->ctx->shm, l7->ctx->worker, client->counted);
    client->counted = 0;
    give_buffers(l7, client);
    lb_http_move(l7, client, LB_HTTP_FREE);
    client->generation++;
    count_end(l7->ctx->row, client, why);
    /* last: whoever sees the end finds it counted */
    if (why != LB_END_TUNNEL)
        lb_side_close(&side, reset);
    if (!client->queued) /* else the list gives it back */
        lb_slab_give(&l7->clients, lb_http_index(l7, client));
}
