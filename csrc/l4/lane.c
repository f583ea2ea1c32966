#include "lane.h"

#include "../core/io.h"
#include "../core/net.h"
#include "ack.h"

enum { SMALL_RESPONSE = 16384 }; /* the kernel acknowledges larger reads by itself */

enum lb_step lb_lane_silent(struct lb_lane *lane, ssize_t got)
{
    if (got == 0)
        return LB_STEP_END;
    if (errno == EBUSY)
        return LB_STEP_LATER;
    if (errno != EAGAIN)
        return LB_STEP_FROM_FAILED;
    lane->from->readable = 0;
    return LB_STEP_BLOCKED;
}

enum lb_step lb_lane_splice(struct lb_lane *lane, size_t most, size_t *got)
{
    ssize_t count = lb_splice(lane->from->fd, lb_pipe_at(&lane->ctx->pipes, lane->flow->held)->in, most);
    if (count <= 0)
        return lb_lane_silent(lane, count);
    *got = (size_t)count;
    lane->flow->pending = (uint32_t)count;
    lb_add(&lane->ctx->row->bytes_spliced, (uint64_t)count);
    return LB_STEP_MOVED;
}

enum lb_step lb_lane_hold(struct lb_lane *lane, const char *bytes, size_t count, ssize_t took)
{
    size_t sent = took < 0 ? 0 : (size_t)took;
    if (took < 0 && errno != EAGAIN)
        return LB_STEP_TO_FAILED;
    lane->to->writable = 0;
    lb_sendq_preload(lane->ctx, lane->flow, bytes + sent, (uint32_t)(count - sent));
    return LB_STEP_BLOCKED;
}

enum lb_step lb_lane_flush(struct lb_lane *lane)
{
    int flushed = lb_sendq_flush(lane->ctx, lane->flow, lane->to);
    if (flushed < 0)
        return LB_STEP_TO_FAILED;
    return flushed ? LB_STEP_MOVED : LB_STEP_BLOCKED;
}

void lb_lane_acknowledge(struct lb_worker_context *ctx, const struct lb_side *backend, struct lb_backend_health *health,
                         size_t bytes, int first, uint8_t *acked, uint32_t pause_ms)
{
    *acked = (uint8_t)lb_ack_part(health, first, (enum lb_ack) * acked, pause_ms);
    if (*acked == LB_ACK_YES && bytes < SMALL_RESPONSE) {
        lb_net_quickack(backend->fd);
        lb_add(&ctx->row->quickacks, 1);
    }
}
