#include <errno.h>
#include <string.h>

#include "../l4/backend_report.h"
#include "conn_parts.h"

enum { DISTRUST_MS = 60000 };

/* Some servers say 408 to a connection that was idle for too long, before they close it (RFC 9110 15.5.9). */
static int is_goodbye(const char *bytes, ssize_t count)
{
    return count >= 12 && memcmp(bytes, "HTTP/1.", 7) == 0 && memcmp(bytes + 8, " 408", 4) == 0;
}

void lb_conn_distrust(struct lb_conn_pool *pool, uint32_t backend)
{
    lb_report_of(pool->ctx, backend)->spoke_ms = lb_stamp_ms(pool->ctx);
}

int lb_conn_is_distrusted(const struct lb_conn_pool *pool, uint32_t backend)
{
    const struct lb_worker_context *ctx = pool->ctx;
    const struct lb_backend_health *health = lb_shm_health(&ctx->shm, ctx->worker, backend);
    return health->generation == ctx->shm.backends[backend].generation && health->spoke_ms &&
           (uint32_t)lb_now_ms(ctx) - health->spoke_ms < DISTRUST_MS;
}

/* What is there to be read from a connection that carries no exchange? */
enum lb_conn_waiting lb_conn_waiting(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    char first[12];
    ssize_t got = lb_side_peek(&conn->side, first, sizeof first);
    if (got < 0 && errno == EAGAIN) {
        conn->side.readable = 0;
        return LB_CONN_NOTHING;
    }
    if (got <= 0)
        return LB_CONN_THE_END;
    lb_add(&pool->ctx->row->connections_unsolicited, 1);
    if (is_goodbye(first, got))
        return LB_CONN_THE_END;
    if (conn->state != LB_CONN_PARTING) /* nobody comes after those */
        lb_conn_distrust(pool, conn->backend);
    return LB_CONN_BYTES;
}

int lb_conn_spoke_first(struct lb_conn_pool *pool, struct lb_conn *conn)
{
    return conn->side.readable && lb_conn_waiting(pool, conn) == LB_CONN_BYTES;
}
