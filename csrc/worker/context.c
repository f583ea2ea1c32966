#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "../core/congestion.h"
#include "../core/net.h"
#include "../l4/offload/offload.h"
#include "worker.h"

enum {
    WARM_BUFFERS = 64,
    LARGE_BUFFERS = 1024, /* for heads that need them, all at once; only address space until then */
    WARM_LARGE = 4,
};

static int open_cursors(struct lb_worker_context *ctx)
{
    uint32_t pools = ctx->shm.head->max_pools;
    ctx->cursors = calloc(pools, sizeof *ctx->cursors);
    if (!ctx->cursors)
        return -ENOMEM;
    for (uint32_t i = 0; i < pools; i++) {
        /* workers start apart, so that together they do not favour the first of a short schedule */
        ctx->cursors[i].seed = (ctx->now_us ^ UINT64_C(0x9e3779b97f4a7c15)) * (ctx->worker + 1) + i + 1;
        ctx->cursors[i].turn = ctx->worker;
    }
    return 0;
}

int lb_worker_context_open(struct lb_worker_context *ctx, const struct lb_worker_setup *setup, uint32_t sessions)
{
    ctx->loop.poller = -1;
    ctx->ready = ctx->starved = LB_SLAB_NONE;
    int error = lb_shm_attach(&ctx->shm, setup->memory, setup->bytes);
    if (error || setup->worker >= ctx->shm.head->workers)
        return error ? error : -EINVAL;
    ctx->worker = setup->worker;
    ctx->row = lb_shm_worker(&ctx->shm, setup->worker);
    ctx->datapath = ctx->shm.head->datapath;
    ctx->row->loop = setup->uring ? LB_LOOP_URING : LB_LOOP_EPOLL;
    ctx->offload = setup->offload;
    ctx->row->forwards_asked = setup->offload_asked;
    ctx->row->forwards = setup->offload ? lb_offload_forwards(setup->offload) : 0;
    ctx->now_us = lb_net_now_us();
    ctx->loopback_control = lb_congestion_for_loopback();
    lb_wheel_open(&ctx->wheel, lb_now_ms(ctx));
    error = lb_slab_open(&ctx->sessions, sizeof(struct lb_session), sessions);
    if (!error) /* one a connection that there is room for at most: never short */
        error = lb_slab_open(&ctx->proxy_info, sizeof(struct lb_proxy_info), sessions);
    if (!error)
        error = lb_buffer_pool_open(&ctx->buffers, LB_BUFFER_BYTES, setup->max_buffers, WARM_BUFFERS);
    if (!error)
        error = lb_buffer_pool_open(&ctx->large, LB_LARGE_BYTES, LARGE_BUFFERS, WARM_LARGE);
    if (!error)
        error = lb_pipe_pool_open(&ctx->pipes, setup->max_pipes);
    if (!error)
        error = open_cursors(ctx);
    if (!error && !(ctx->scratch = malloc(LB_SCRATCH_BYTES)))
        error = -ENOMEM;
    const struct lb_head *head = ctx->shm.head;
    /* a client each, its session's backend, and as many kept connections */
    lb_tls_rules_prepare(&ctx->tls, head->max_listeners, head->max_pools, head->max_backends, 3 * sessions);
    return error ? error : lb_loop_open(&ctx->loop, setup->uring);
}

void lb_worker_context_close(struct lb_worker_context *ctx)
{
    lb_loop_close(&ctx->loop);
    free(ctx->scratch);
    free(ctx->cursors);
    lb_pipe_pool_close(&ctx->pipes);
    lb_buffer_pool_close(&ctx->large);
    lb_buffer_pool_close(&ctx->buffers);
    lb_slab_close(&ctx->proxy_info);
    lb_slab_close(&ctx->sessions);
}
