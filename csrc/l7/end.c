#include "end.h"

#include "../table/account.h"
#include "../table/clients.h"
#include "../table/ending.h"
#include "belongs.h"
#include "charge.h"
#include "exchanges.h"
#include "queue.h"
#include "request_log.h"
#include "state.h"

/* The exchange under way ends with its client. */
static void leave_exchange(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_end why)
{
    if (exchange->open && why != LB_ENDED_TUNNEL) /* else it was told before */
        lb_http_log(l7, exchange, why, exchange->status, NULL);
    lb_http_leave_queue(l7, exchange);
    lb_http_leave_backend(l7, exchange, LB_CONN_CUT);
    if (exchange->open)
        lb_ending_count_request(l7->ctx->row, why);
    lb_exchange_give(l7, exchange);
}

static void count_end(struct lb_worker_row *row, enum lb_end why)
{
    if (why == LB_ENDED_TUNNEL)
        return;
    lb_ending_count(row, why);
    lb_add(&row->active, UINT64_MAX); /* one less */
}

/* Has a response begun that is not whole? It must not be taken for a whole one. */
static int is_cut(const struct lb_exchange *exchange)
{
    return exchange && exchange->open && (exchange->stage == LB_RESPONSE_BODY || exchange->down.pending);
}

void lb_h1_end(struct lb_l7 *l7, struct lb_h1 *h1, enum lb_end why)
{
    struct lb_side side = h1->client.side;
    int reset = lb_endings[why].resets != LB_RESETS_NEVER && is_cut(h1->exchange);
    if (h1->exchange)
        leave_exchange(l7, h1->exchange, why);
    lb_conn_drop_own(&l7->conns, &h1->client.own);
    lb_proxy_info_drop(&l7->ctx->proxy_info, h1->client.proxy_info);
    lb_client_leave(&l7->ctx->shm, l7->ctx->worker, h1->client.counted);
    h1->client.counted = 0;
    lb_input_drop(l7, &h1->in);
    lb_h1_move(l7, h1, LB_H1_FREE);
    h1->client.generation++;
    count_end(l7->ctx->row, why);
    /* last: whoever sees the end finds it counted */
    if (why != LB_ENDED_TUNNEL)
        lb_side_close(&side, reset);
    if (!h1->client.queued) /* else the list gives it back */
        lb_slab_give(&l7->clients, lb_h1_index(l7, h1));
}
