#include "heads.h"

#include <errno.h>
#include <string.h>

#define LARGE UINT32_C(0x80000000) /* in an index: of a large one */

enum { WARM_HEADS = 1024 }; /* small ones whose memory is kept */

int lb_heads_open(struct lb_buffer_pool *heads, uint32_t clients)
{
    return lb_buffer_pool_open(heads, LB_HEAD_BYTES, 2 * clients, WARM_HEADS);
}

uint32_t lb_heads_take(struct lb_buffer_pool *heads)
{
    return lb_buffer_take(heads);
}

void lb_heads_give(struct lb_worker_context *ctx, struct lb_buffer_pool *heads, uint32_t head)
{
    if (head & LARGE)
        lb_buffer_give(&ctx->large, head & ~LARGE);
    else
        lb_buffer_give(heads, head);
}

char *lb_heads_at(const struct lb_worker_context *ctx, const struct lb_buffer_pool *heads, uint32_t head)
{
    return head & LARGE ? lb_buffer_at(&ctx->large, head & ~LARGE) : lb_buffer_at(heads, head);
}

uint32_t lb_heads_room(uint32_t head)
{
    return head & LARGE ? LB_MOST_READ : LB_HEAD_BYTES;
}

int lb_heads_grow(struct lb_worker_context *ctx, struct lb_buffer_pool *heads, uint32_t *head, uint32_t used)
{
    if (*head & LARGE || !lb_buffer_pool_ready(&ctx->large))
        return -ENOBUFS;
    uint32_t larger = lb_buffer_take(&ctx->large) | LARGE;
    memcpy(lb_heads_at(ctx, heads, larger), lb_heads_at(ctx, heads, *head), used);
    lb_heads_give(ctx, heads, *head);
    *head = larger;
    return 0;
}
