/* Buffers for heads that came in part, or wait for a backend. Each is small, unless a head turns out to be larger: then what is there
 * moves to a large one. So a limit that is higher than most heads costs nothing until a head needs it. */
#ifndef LB_HEADS_H
#define LB_HEADS_H

#include "../l4/worker_context.h"

enum {
    LB_HEAD_BYTES = 32768,                 /* of a small buffer */
    LB_MOST_HEAD = 131072,                 /* no limit of heads is higher; a large buffer has room for it as it goes out, too */
    LB_MOST_READ = LB_LARGE_BYTES - 24576, /* what is read into a large buffer: composing adds less than the rest */
};

__attribute__((warn_unused_result)) int lb_heads_open(struct lb_buffer_pool *heads, uint32_t clients);

/* A small one. There are two a client: never short. */
uint32_t lb_heads_take(struct lb_buffer_pool *heads);
void lb_heads_give(struct lb_worker_context *ctx, struct lb_buffer_pool *heads, uint32_t head);
char *lb_heads_at(const struct lb_worker_context *ctx, const struct lb_buffer_pool *heads, uint32_t head);

/* How much may be read into it. */
uint32_t lb_heads_room(uint32_t head);

/* Move its first `used` bytes to a large one: 0, or -ENOBUFS when none is left, or it is large already. */
__attribute__((warn_unused_result)) int lb_heads_grow(struct lb_worker_context *ctx, struct lb_buffer_pool *heads, uint32_t *head,
                                                      uint32_t used);

#endif
