#include "end.h"

#include "../table/account.h"
#include "../table/clients.h"
#include "belongs.h"
#include "charge.h"
#include "exchanges.h"
#include "queue.h"
#include "request_log.h"
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

/* The exchange under way ends with its client. */
static void leave_exchange(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_http_end why)
{
    struct lb_worker_row *row = l7->ctx->row;
    if (exchange->open && why != LB_END_TUNNEL) /* else it was told before */
        lb_http_log(l7, exchange, end_of(why), exchange->status, NULL);
    lb_http_leave_queue(l7, exchange);
    lb_http_leave_backend(l7, exchange, LB_CONN_CUT);
    if (exchange->open) {
        lb_add(&row->requests_active, UINT64_MAX);
        lb_add(exchange_counter(row, why), 1);
    }
    lb_exchange_give(l7, exchange);
}

static void count_end(struct lb_worker_row *row, enum lb_http_end why)
{
    if (why == LB_END_TUNNEL)
        return;
    lb_add(ending_counter(row, why), 1);
    lb_add(&row->closed, 1);
    lb_add(&row->active, UINT64_MAX);
}

/* Has a response begun that is not whole? It must not be taken for a whole one. */
static int is_cut(const struct lb_exchange *exchange)
{
    return exchange && exchange->open && (exchange->stage == LB_RESPONSE_BODY || exchange->down.pending);
}

void lb_h1_end(struct lb_l7 *l7, struct lb_h1 *client, enum lb_http_end why)
{
    struct lb_side side = client->side;
    int reset = why != LB_END_DONE && is_cut(client->exchange);
    if (client->exchange)
        leave_exchange(l7, client->exchange, why);
    lb_conn_drop_own(&l7->conns, &client->own);
    lb_proxy_info_drop(&l7->ctx->proxy_info, client->proxy_info);
    lb_client_leave(&l7->ctx->shm, l7->ctx->worker, client->counted);
    client->counted = 0;
    lb_input_drop(l7, &client->in);
    lb_h1_move(l7, client, LB_H1_FREE);
    client->generation++;
    count_end(l7->ctx->row, why);
    /* last: whoever sees the end finds it counted */
    if (why != LB_END_TUNNEL)
        lb_side_close(&side, reset);
    if (!client->queued) /* else the list gives it back */
        lb_slab_give(&l7->clients, lb_h1_index(l7, client));
}
