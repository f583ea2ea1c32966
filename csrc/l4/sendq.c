#include "sendq.h"

#include <string.h>
#include <sys/socket.h>

#include "../core/io.h"

void lb_sendq_give(struct lb_worker_context *ctx, struct lb_flow *flow)
{
    switch ((enum lb_hold)flow->holds) {
    case LB_HOLDS_NOTHING:
        return;
    case LB_HOLDS_BUFFER:
        lb_buffer_give(&ctx->buffers, flow->held);
        ctx->row->buffers--;
        break;
    case LB_HOLDS_LARGE:
        lb_buffer_give(&ctx->large, flow->held);
        ctx->row->buffers--;
        break;
    case LB_HOLDS_PIPE:
        lb_pipe_give(&ctx->pipes, flow->held, flow->pending == 0);
        ctx->row->pipes--;
        break;
    }
    flow->holds = LB_HOLDS_NOTHING;
    flow->pending = 0;
}

int lb_sendq_take_pipe(struct lb_worker_context *ctx, struct lb_flow *flow)
{
    if (flow->holds == LB_HOLDS_PIPE)
        return 1;
    uint32_t pipe = lb_pipe_take(&ctx->pipes);
    if (pipe == LB_SLAB_NONE) {
        lb_add(&ctx->row->pipe_misses, 1);
        return 0;
    }
    flow->held = pipe;
    flow->holds = LB_HOLDS_PIPE;
    flow->pending = 0;
    ctx->row->pipes++;
    return 1;
}

/* --- buffers -------------------------------------------------------------------------------------------------------- */

static struct lb_buffer_pool *pool_for(struct lb_worker_context *ctx, size_t bytes)
{
    return bytes > LB_BUFFER_BYTES ? &ctx->large : &ctx->buffers;
}

int lb_sendq_can_hold(const struct lb_worker_context *ctx, size_t bytes)
{
    return lb_buffer_pool_ready(bytes > LB_BUFFER_BYTES ? &ctx->large : &ctx->buffers);
}

/* An empty buffer that has room for so many bytes. */
static char *take_buffer(struct lb_worker_context *ctx, struct lb_flow *flow, size_t bytes)
{
    struct lb_buffer_pool *buffers = pool_for(ctx, bytes);
    lb_sendq_drop(ctx, flow);
    flow->held = lb_buffer_take(buffers);
    flow->holds = buffers == &ctx->large ? LB_HOLDS_LARGE : LB_HOLDS_BUFFER;
    flow->start = 0;
    ctx->row->buffers++;
    return lb_buffer_at(buffers, flow->held);
}

/* Keep the end of two parts, of which `sent` bytes are gone. */
static void hold(struct lb_worker_context *ctx, struct lb_flow *flow, const struct iovec parts[2], size_t sent)
{
    char *to = take_buffer(ctx, flow, parts[0].iov_len + parts[1].iov_len - sent);
    for (int i = 0; i < 2; i++) {
        size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len, rest = parts[i].iov_len - skip;
        if (rest)
            memcpy(to + flow->pending, (const char *)parts[i].iov_base + skip, rest);
        flow->pending += (uint32_t)rest;
        sent -= skip;
    }
}

void lb_sendq_preload(struct lb_worker_context *ctx, struct lb_flow *flow, const char *bytes, uint32_t count)
{
    memcpy(take_buffer(ctx, flow, count), bytes, count);
    flow->pending = count;
}

static char *held_at(const struct lb_worker_context *ctx, const struct lb_flow *flow)
{
    return lb_buffer_at(flow->holds == LB_HOLDS_LARGE ? &ctx->large : &ctx->buffers, flow->held);
}

/* What is held moves to a large buffer: 0, or -1. */
static int grow(struct lb_worker_context *ctx, struct lb_flow *flow)
{
    struct lb_flow small = *flow;
    if (flow->holds == LB_HOLDS_LARGE || !lb_buffer_pool_ready(&ctx->large))
        return -1;
    flow->holds = LB_HOLDS_NOTHING;
    memcpy(take_buffer(ctx, flow, LB_LARGE_BYTES), held_at(ctx, &small) + small.start, small.pending);
    flow->pending = small.pending;
    lb_sendq_give(ctx, &small);
    return 0;
}

char *lb_sendq_room(struct lb_worker_context *ctx, struct lb_flow *flow, size_t bytes)
{
    if (flow->holds == LB_HOLDS_NOTHING) {
        if (bytes > LB_LARGE_BYTES || !lb_sendq_can_hold(ctx, bytes))
            return NULL;
        return take_buffer(ctx, flow, bytes);
    }
    size_t room = flow->holds == LB_HOLDS_LARGE ? LB_LARGE_BYTES : LB_BUFFER_BYTES;
    char *held = held_at(ctx, flow);
    if (flow->start + flow->pending + bytes <= room)
        return held + flow->start + flow->pending;
    if (flow->pending + bytes <= room) {
        memmove(held, held + flow->start, flow->pending);
        flow->start = 0;
        return held + flow->pending;
    }
    if (flow->pending + bytes > LB_LARGE_BYTES || grow(ctx, flow) < 0)
        return NULL;
    return held_at(ctx, flow) + flow->pending;
}

/* --- sending -------------------------------------------------------------------------------------------------------- */

/* What a send of both parts came to. */
static int settle(struct lb_worker_context *ctx, struct lb_flow *flow, struct lb_side *to, const struct iovec parts[2],
                  ssize_t sent)
{
    if (sent < 0 && errno != EAGAIN)
        return -1;
    size_t took = sent < 0 ? 0 : (size_t)sent;
    if (took < parts[0].iov_len + parts[1].iov_len) {
        to->writable = 0;
        hold(ctx, flow, parts, took);
    }
    return 0;
}

int lb_sendq_send(struct lb_worker_context *ctx, struct lb_flow *flow, struct lb_side *to, const char *a, size_t a_count,
                  const char *b, size_t b_count)
{
    struct iovec parts[2] = {{(void *)(uintptr_t)a, a_count}, {(void *)(uintptr_t)b, b_count}};
    return settle(ctx, flow, to, parts, lb_side_send_parts(to, a, a_count, b, b_count));
}

int lb_sendq_send_last(struct lb_worker_context *ctx, struct lb_flow *flow, struct lb_side *to, const char *a, size_t a_count,
                       const char *b, size_t b_count)
{
    struct iovec parts[2] = {{(void *)(uintptr_t)a, a_count}, {(void *)(uintptr_t)b, b_count}};
    return settle(ctx, flow, to, parts, lb_send_last(to->fd, parts, 2));
}

static ssize_t send_held(struct lb_worker_context *ctx, const struct lb_flow *flow, struct lb_side *to)
{
    if (flow->holds == LB_HOLDS_PIPE)
        return lb_splice(lb_pipe_at(&ctx->pipes, flow->held)->out, to->fd, flow->pending);
    return lb_side_send(to, lb_sendq_bytes(ctx, flow), flow->pending);
}

int lb_sendq_flush(struct lb_worker_context *ctx, struct lb_flow *flow, struct lb_side *to)
{
    while (flow->pending) {
        if (!to->writable)
            return 0;
        ssize_t took = send_held(ctx, flow, to);
        if (took < 0 && errno != EAGAIN)
            return -1;
        flow->start += took > 0 ? (uint32_t)took : 0;
        flow->pending -= took > 0 ? (uint32_t)took : 0;
        if (took <= 0 || (flow->pending && flow->holds != LB_HOLDS_PIPE)) { /* of a pipe, a short splice says nothing */
            to->writable = 0;
            return 0;
        }
    }
    if (flow->holds != LB_HOLDS_PIPE)
        lb_sendq_drop(ctx, flow);
    return 1;
}
