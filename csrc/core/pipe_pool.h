/* Pipes for splice(2): one is held by a direction only while it streams. */
#ifndef LB_PIPE_POOL_H
#define LB_PIPE_POOL_H

#include "slab.h"

enum { LB_PIPE_BYTES = 1 << 20 }; /* asked for; the kernel may grant less */

struct lb_pipe {
    int out; /* read end; 0 with in == 0: not made yet (descriptor 0 is never one of ours) */
    int in;
};

struct lb_pipe_pool {
    struct lb_slab slab;
};

__attribute__((warn_unused_result)) int lb_pipe_pool_open(struct lb_pipe_pool *pool, uint32_t capacity);
void lb_pipe_pool_close(struct lb_pipe_pool *pool);

/* A pipe, empty and non-blocking, or LB_SLAB_NONE: all are held, or no descriptor is left. */
uint32_t lb_pipe_take(struct lb_pipe_pool *pool);

/* Give it back. One that still holds bytes is closed: they must never reach the next session. */
void lb_pipe_give(struct lb_pipe_pool *pool, uint32_t pipe, int empty);

struct lb_pipe *lb_pipe_at(const struct lb_pipe_pool *pool, uint32_t pipe);

#endif
