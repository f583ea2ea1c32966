/* Buffers for heads that came in part, or wait for a backend. Each is of the common size, unless a head turns out to be larger: then what is
 * there moves to a large one. So a limit that is higher than most heads costs nothing until a head needs it. What is whole and only waits,
 * as the request of a stream does, is kept in a small one: of the common size, each takes a page of memory at least. */
#ifndef LB_HEADS_H
#define LB_HEADS_H

#include "../l4/worker_context.h"

enum {
    LB_HEAD_BYTES = 32768,  /* of a buffer of the common size */
    LB_SMALL_SIZES = 4,     /* of small ones */
    LB_SMALLEST_HEAD = 256, /* the next sizes are twice the one before each */
    LB_SMALL_HEAD_MOST = LB_SMALLEST_HEAD << (LB_SMALL_SIZES - 1),
    LB_MOST_HEAD = 131072,                 /* no limit of heads is higher; a large buffer has room for it as it goes out, too */
    LB_MOST_READ = LB_LARGE_BYTES - 24576, /* what is read into a large buffer: composing adds less than the rest */
};

struct lb_heads {
    struct lb_buffer_pool common;
    struct lb_slab small[LB_SMALL_SIZES];
};

__attribute__((warn_unused_result)) int lb_heads_open(struct lb_heads *heads, uint32_t clients);
void lb_heads_close(struct lb_heads *heads);

/* One of the common size. There are three a client of each size: never short. */
uint32_t lb_heads_take(struct lb_heads *heads);

/* The smallest that has room for so many bytes, up to the common size. */
uint32_t lb_heads_take_small(struct lb_heads *heads, uint32_t bytes);

/* Would these bytes, which are in this one, fit a smaller one? */
int lb_heads_is_too_large(uint32_t head, uint32_t bytes);

void lb_heads_give(struct lb_worker_context *ctx, struct lb_heads *heads, uint32_t head);
char *lb_heads_at(const struct lb_worker_context *ctx, const struct lb_heads *heads, uint32_t head);

/* How much may be read into it. */
uint32_t lb_heads_room(uint32_t head);

/* Move its first `used` bytes to a larger one: 0, or -ENOBUFS when none is left, or it is large already. */
__attribute__((warn_unused_result)) int lb_heads_grow(struct lb_worker_context *ctx, struct lb_heads *heads, uint32_t *head,
                                                      uint32_t used);

#endif
