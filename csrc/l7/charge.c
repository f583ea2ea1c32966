#include "charge.h"

#include "../table/load.h"
#include "belongs.h"

void lb_http_decided(struct lb_l7 *l7, const struct lb_http *client, enum lb_fate fate)
{
    lb_why_end(&l7->ctx->shm, l7->ctx->worker, client->decision, fate, client->status, l7->ctx->now_us);
}

void lb_http_own(struct lb_l7 *l7, struct lb_http *client, struct lb_conn *conn)
{
    conn->owner = lb_http_index(l7, client);
    client->conn = (uint32_t)((size_t)((char *)conn - l7->conns.slab.memory) / sizeof *conn);
    client->reused = conn->exchanges > 0;
    client->quiet = 0;
    client->conn_keeps = 1;
    client->sent_us = (uint32_t)l7->ctx->now_us;
}

static void leave_conn(struct lb_l7 *l7, const struct lb_http *client, struct lb_conn *conn, enum lb_conn_end how)
{
    conn->owner = LB_SLAB_NONE;
    if (how == LB_CONN_KEEP && lb_conn_is_own(conn) && !client->persistent)
        how = LB_CONN_PART; /* it serves nobody else */
    switch (how) {
    case LB_CONN_CUT:
        lb_conn_drop(&l7->conns, conn);
        break;
    case LB_CONN_PART:
        lb_conn_part(&l7->conns, conn);
        break;
    case LB_CONN_KEEP:
        lb_conn_keep(&l7->conns, conn);
        break;
    }
}

void lb_http_leave_backend(struct lb_l7 *l7, struct lb_http *client, enum lb_conn_end how)
{
    if (client->conn != LB_SLAB_NONE) {
        struct lb_conn *conn = lb_conn_at(&l7->conns, client->conn);
        client->conn = LB_SLAB_NONE;
        leave_conn(l7, client, conn, how);
    }
    if (client->backend != LB_NONE) {
        lb_load_give(&l7->ctx->shm, l7->ctx->worker, client->pool, client->backend, client->cost);
        lb_http_decided(l7, client, client->stage == LB_RESPONSE_WHOLE ? LB_FATE_DONE : LB_FATE_LEFT);
        client->backend = LB_NONE;
    }
}
