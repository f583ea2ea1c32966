#include "sendq.h"

#include <string.h>

#include "../core/io.h"

/* Keep the end of two parts, of which `sent` bytes are gone. */
static void hold(struct lb_l7 *l7, struct lb_flow *flow, const struct iovec parts[2], size_t sent)
{
    int large = parts[0].iov_len + parts[1].iov_len - sent > LB_BUFFER_BYTES;
    struct lb_buffer_pool *buffers = large ? &l7->ctx->large : &l7->ctx->buffers;
    lb_relay_drop(l7->ctx, flow);
    *flow = (struct lb_flow){.held = lb_buffer_take(buffers), .holds = large ? LB_HOLDS_LARGE : LB_HOLDS_BUFFER};
    l7->ctx->row->buffers++;
    char *to = lb_buffer_at(buffers, flow->held);
    for (int i = 0; i < 2; i++) {
        size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len, rest = parts[i].iov_len - skip;
        if (rest)
            memcpy(to + flow->pending, (const char *)parts[i].iov_base + skip, rest);
        flow->pending += (uint32_t)rest;
        sent -= skip;
    }
}

/* What a send of both parts came to. */
static int settle(struct lb_l7 *l7, struct lb_side *to, struct lb_flow *flow, const struct iovec parts[2], ssize_t sent)
{
    if (sent < 0 && errno != EAGAIN)
        return -1;
    size_t took = sent < 0 ? 0 : (size_t)sent;
    if (took < parts[0].iov_len + parts[1].iov_len) {
        to->writable = 0;
        hold(l7, flow, parts, took);
    }
    return 0;
}

int lb_http_send_parts(struct lb_l7 *l7, struct lb_side *to, struct lb_flow *flow, const char *a, size_t a_count, const char *b,
                       size_t b_count)
{
    struct iovec parts[2] = {{(void *)(uintptr_t)a, a_count}, {(void *)(uintptr_t)b, b_count}};
    return settle(l7, to, flow, parts, lb_side_send_parts(to, a, a_count, b, b_count));
}

int lb_http_send_last(struct lb_l7 *l7, struct lb_side *to, struct lb_flow *flow, const char *a, size_t a_count, const char *b,
                      size_t b_count)
{
    struct iovec parts[2] = {{(void *)(uintptr_t)a, a_count}, {(void *)(uintptr_t)b, b_count}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    ssize_t sent;
    do
        sent = sendmsg(to->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT | MSG_MORE);
    while (sent < 0 && errno == EINTR);
    return settle(l7, to, flow, parts, sent);
}

int lb_http_can_hold(const struct lb_l7 *l7, size_t bytes)
{
    return lb_buffer_pool_ready(bytes > LB_BUFFER_BYTES ? &l7->ctx->large : &l7->ctx->buffers);
}

static char *held_bytes(const struct lb_l7 *l7, const struct lb_flow *flow)
{
    const struct lb_buffer_pool *buffers = flow->holds == LB_HOLDS_LARGE ? &l7->ctx->large : &l7->ctx->buffers;
    return lb_buffer_at(buffers, flow->held) + flow->start;
}

int lb_http_flush(struct lb_l7 *l7, struct lb_side *to, struct lb_flow *flow)
{
    while (flow->pending) {
        if (!to->writable)
            return 0;
        int piped = flow->holds == LB_HOLDS_PIPE;
        ssize_t took = piped ? lb_splice(lb_pipe_at(&l7->ctx->pipes, flow->held)->out, to->fd, flow->pending)
                             : lb_side_send(to, held_bytes(l7, flow), flow->pending);
        if (took < 0 && errno != EAGAIN)
            return -1;
        if (took <= 0) {
            to->writable = 0;
            return 0;
        }
        flow->start += (uint32_t)took;
        flow->pending -= (uint32_t)took;
    }
    if (flow->holds != LB_HOLDS_PIPE)
        lb_relay_drop(l7->ctx, flow);
    return 1;
}
