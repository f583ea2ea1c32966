#include "charge.h"

#include "../table/load.h"
#include "belongs.h"
#include "twin.h"

void lb_http_decided(struct lb_l7 *l7, const struct lb_exchange *exchange, enum lb_end end)
{
    lb_why_end(&l7->ctx->shm, l7->ctx->worker, exchange->decision, end, exchange->status, l7->ctx->now_us);
}

void lb_http_own(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_conn *conn)
{
    conn->owner = lb_http_index(l7, exchange);
    exchange->conn = lb_slab_index(&l7->conns.slab, conn);
    exchange->stream[LB_BACKEND] = l7->stream_of(conn);
    exchange->deaf = 0;
    exchange->reused = conn->exchanges > 0;
    exchange->quiet = 0;
    exchange->conn_keeps = 1;
    exchange->sent_us = (uint32_t)l7->ctx->now_us;
}

static void leave_conn(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_conn_end how)
{
    if (exchange->conn == LB_SLAB_NONE && !exchange->stream[LB_BACKEND].own)
        return;
    struct lb_conn *conn = exchange->conn != LB_SLAB_NONE ? lb_conn_at(&l7->conns, exchange->conn) : NULL;
    exchange->conn = LB_SLAB_NONE;
    exchange->stream[LB_BACKEND].ops->leave(l7, exchange, conn, how);
}

void lb_http_change_backend(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_conn_end how)
{
    leave_conn(l7, exchange, how);
    lb_load_give(&l7->ctx->shm, l7->ctx->worker, exchange->pool, exchange->backend, exchange->cost);
    exchange->backend = LB_NONE;
}

void lb_http_leave_backend(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_conn_end how)
{
    if (exchange->hedging == LB_HEDGE_IS_OUT)
        lb_twin_let_go(l7, exchange);
    leave_conn(l7, exchange, how);
    if (exchange->backend != LB_NONE) {
        lb_load_give(&l7->ctx->shm, l7->ctx->worker, exchange->pool, exchange->backend, exchange->cost);
        lb_http_decided(l7, exchange, exchange->stage == LB_RESPONSE_WHOLE ? LB_ENDED_DONE : LB_ENDED_CLIENT);
        exchange->backend = LB_NONE;
    }
}
