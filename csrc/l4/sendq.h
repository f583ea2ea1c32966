/* What a side does not take yet: held in a pooled buffer or a pipe until it does. */
#ifndef LB_SENDQ_H
#define LB_SENDQ_H

#include "flow.h"
#include "side.h"
#include "worker_context.h"

/* Is a buffer free for so many bytes, if a side takes none of them? */
int lb_sendq_can_hold(const struct lb_worker_context *ctx, size_t bytes);

/* Send two parts to a side; what it does not take is held (a buffer must be free). 0, or -1 when the side failed. */
__attribute__((warn_unused_result)) int lb_sendq_send(struct lb_worker_context *ctx, struct lb_flow *flow, struct lb_side *to,
                                                      const char *a, size_t a_count, const char *b, size_t b_count);

/* The same without TLS, of bytes that the connection's end follows at once: one segment has both. */
__attribute__((warn_unused_result)) int lb_sendq_send_last(struct lb_worker_context *ctx, struct lb_flow *flow,
                                                           struct lb_side *to, const char *a, size_t a_count, const char *b,
                                                           size_t b_count);

/* Send on what is held: 1 nothing is left, 0 the side takes no more, -1 it failed. */
__attribute__((warn_unused_result)) int lb_sendq_flush(struct lb_worker_context *ctx, struct lb_flow *flow, struct lb_side *to);

/* Hold these bytes, at most LB_BUFFER_BYTES; nothing is held yet, and a buffer is free. */
void lb_sendq_preload(struct lb_worker_context *ctx, struct lb_flow *flow, const char *bytes, uint32_t count);

/* A place for `bytes` more behind what is held, in a buffer, or in a large one where no other has the room; whoever writes there adds them to
 * flow->pending. At most LB_LARGE_BYTES are held. NULL: no buffer with the room is free. */
char *lb_sendq_room(struct lb_worker_context *ctx, struct lb_flow *flow, size_t bytes);

/* The bytes that a buffer holds: flow->pending of them. */
static inline char *lb_sendq_bytes(const struct lb_worker_context *ctx, const struct lb_flow *flow)
{
    const struct lb_buffer_pool *buffers = flow->holds == LB_HOLDS_LARGE ? &ctx->large : &ctx->buffers;
    return lb_buffer_at(buffers, flow->held) + flow->start;
}

/* Hold a pipe, empty at first, if one is free. Has it one? */
int lb_sendq_take_pipe(struct lb_worker_context *ctx, struct lb_flow *flow);

/* Give back what is held, with the bytes in it. */
void lb_sendq_give(struct lb_worker_context *ctx, struct lb_flow *flow);

/* The same, where mostly nothing is. */
static inline void lb_sendq_drop(struct lb_worker_context *ctx, struct lb_flow *flow)
{
    if (flow->holds != LB_HOLDS_NOTHING)
        lb_sendq_give(ctx, flow);
}

/* So many of the bytes that a buffer holds are done with; behind the last the buffer is given back. */
static inline void lb_sendq_used(struct lb_worker_context *ctx, struct lb_flow *flow, uint32_t bytes)
{
    flow->start += bytes;
    flow->pending -= bytes;
    if (!flow->pending)
        lb_sendq_drop(ctx, flow);
}

#endif
