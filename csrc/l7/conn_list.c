#include "conn_parts.h"

/* --- the lists of idle ones ----------------------------------------------------------------------------------------- */

void lb_conn_link(struct lb_conn_pool *pool, struct lb_conn *conn, enum lb_conn_state state)
{
    struct lb_conn_stack *stack = conn->among;
    uint32_t index = lb_slab_index(&pool->slab, conn);
    conn->newer = LB_SLAB_NONE;
    conn->older = stack->newest;
    if (stack->newest != LB_SLAB_NONE)
        lb_conn_at(pool, stack->newest)->newer = index;
    else
        stack->oldest = index;
    stack->newest = index;
    stack->count++;
    conn->younger = LB_SLAB_NONE;
    conn->elder = pool->youngest;
    if (pool->youngest != LB_SLAB_NONE)
        lb_conn_at(pool, pool->youngest)->younger = index;
    else
        pool->eldest = index;
    pool->youngest = index;
    conn->state = (uint8_t)state;
    if (state == LB_CONN_IDLE)
        lb_add(&pool->ctx->row->connections_kept, 1);
}

void lb_conn_unlink(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    struct lb_conn_stack *stack = conn->among;
    if (conn->newer != LB_SLAB_NONE)
        lb_conn_at(pool, conn->newer)->older = conn->older;
    else
        stack->newest = conn->older;
    if (conn->older != LB_SLAB_NONE)
        lb_conn_at(pool, conn->older)->newer = conn->newer;
    else
        stack->oldest = conn->newer;
    stack->count--;
    if (conn->younger != LB_SLAB_NONE)
        lb_conn_at(pool, conn->younger)->elder = conn->elder;
    else
        pool->youngest = conn->elder;
    if (conn->elder != LB_SLAB_NONE)
        lb_conn_at(pool, conn->elder)->younger = conn->younger;
    else
        pool->eldest = conn->younger;
    if (conn->state == LB_CONN_IDLE)
        lb_add(&pool->ctx->row->connections_kept, UINT64_MAX);
    conn->state = LB_CONN_BUSY;
}

/* --- life ----------------------------------------------------------------------------------------------------------- */

void lb_conn_forget(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    if (conn->state != LB_CONN_BUSY)
        lb_conn_unlink(pool, conn);
    lb_timer_cancel(&conn->timer);
    conn->state = LB_CONN_FREE;
    conn->generation++;
    lb_slab_give(&pool->slab, lb_slab_index(&pool->slab, conn));
}

void lb_conn_close(struct lb_conn_pool *pool, struct lb_conn *conn, int reset)
{
    struct lb_side side = conn->side;
    lb_conn_forget(pool, conn);
    lb_side_close(&side, reset);
}

void lb_conn_drop(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    lb_conn_close(pool, conn, 0);
}
