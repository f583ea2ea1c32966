#include "heads.h"

#include <errno.h>
#include <string.h>

/* In an index. */
#define LARGE UINT32_C(0x80000000)
#define SMALL UINT32_C(0x40000000)

enum {
    WARM_HEADS = 1024, /* of the common size, whose memory is kept */
    SIZE_SHIFT = 28,   /* of a small one: which size, in two bits */
    SIZE_MASK = 3,
    PLACE_MASK = (1 << SIZE_SHIFT) - 1,
};

_Static_assert((int)LB_SMALL_SIZES <= (int)SIZE_MASK + 1, "two bits say which");

static uint32_t size_of(uint32_t head)
{
    return head >> SIZE_SHIFT & SIZE_MASK;
}

int lb_heads_open(struct lb_heads *heads, uint32_t clients)
{
    int error = lb_buffer_pool_open(&heads->common, LB_HEAD_BYTES, 3 * clients, WARM_HEADS);
    for (uint32_t size = 0; size < LB_SMALL_SIZES && !error; size++)
        error = lb_slab_open(&heads->small[size], (size_t)LB_SMALLEST_HEAD << size, 3 * clients);
    return error;
}

void lb_heads_close(struct lb_heads *heads)
{
    for (uint32_t size = 0; size < LB_SMALL_SIZES; size++)
        lb_slab_close(&heads->small[size]);
    lb_buffer_pool_close(&heads->common);
}

uint32_t lb_heads_take(struct lb_heads *heads)
{
    return lb_buffer_take(&heads->common);
}

uint32_t lb_heads_take_small(struct lb_heads *heads, uint32_t bytes)
{
    for (uint32_t size = 0; size < LB_SMALL_SIZES; size++)
        if (bytes <= (uint32_t)LB_SMALLEST_HEAD << size)
            return SMALL | size << SIZE_SHIFT | lb_slab_take(&heads->small[size]);
    return lb_heads_take(heads);
}

int lb_heads_is_too_large(uint32_t head, uint32_t bytes)
{
    return !(head & SMALL) && bytes <= LB_SMALL_HEAD_MOST;
}

void lb_heads_give(struct lb_worker_context *ctx, struct lb_heads *heads, uint32_t head)
{
    if (head & LARGE)
        lb_buffer_give(&ctx->large, head & ~LARGE);
    else if (head & SMALL)
        lb_slab_give(&heads->small[size_of(head)], head & PLACE_MASK);
    else
        lb_buffer_give(&heads->common, head);
}

char *lb_heads_at(const struct lb_worker_context *ctx, const struct lb_heads *heads, uint32_t head)
{
    if (head & LARGE)
        return lb_buffer_at(&ctx->large, head & ~LARGE);
    return head & SMALL ? lb_slab_at(&heads->small[size_of(head)], head & PLACE_MASK) : lb_buffer_at(&heads->common, head);
}

uint32_t lb_heads_room(uint32_t head)
{
    if (head & LARGE)
        return LB_MOST_READ;
    return head & SMALL ? (uint32_t)LB_SMALLEST_HEAD << size_of(head) : LB_HEAD_BYTES;
}

int lb_heads_grow(struct lb_worker_context *ctx, struct lb_heads *heads, uint32_t *head, uint32_t used)
{
    if (*head & LARGE || (!(*head & SMALL) && !lb_buffer_pool_ready(&ctx->large)))
        return -ENOBUFS;
    uint32_t larger = *head & SMALL ? lb_heads_take(heads) : lb_buffer_take(&ctx->large) | LARGE;
    memcpy(lb_heads_at(ctx, heads, larger), lb_heads_at(ctx, heads, *head), used);
    lb_heads_give(ctx, heads, *head);
    *head = larger;
    return 0;
}
