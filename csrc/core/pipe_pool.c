#include "pipe_pool.h"

#include <fcntl.h>
#include <unistd.h>

int lb_pipe_pool_open(struct lb_pipe_pool *pool, uint32_t capacity)
{
    return lb_slab_open(&pool->slab, sizeof(struct lb_pipe), capacity);
}

static void close_pipe(struct lb_pipe *pipe)
{
    if (pipe->in) {
        close(pipe->in);
        close(pipe->out);
    }
    *pipe = (struct lb_pipe){0};
}

void lb_pipe_pool_close(struct lb_pipe_pool *pool)
{
    for (uint32_t i = 0; pool->slab.memory && i < pool->slab.touched; i++)
        close_pipe(lb_pipe_at(pool, i));
    lb_slab_close(&pool->slab);
}

/* An unprivileged user may own 64 MiB of large pipes (pipe-user-pages-soft); past that a pipe keeps its default size. */
static int make_pipe(struct lb_pipe *pipe)
{
    int ends[2];
    if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0)
        return -1;
    (void)fcntl(ends[1], F_SETPIPE_SZ, LB_PIPE_BYTES);
    *pipe = (struct lb_pipe){.out = ends[0], .in = ends[1]};
    return 0;
}

uint32_t lb_pipe_take(struct lb_pipe_pool *pool)
{
    uint32_t index = lb_slab_take(&pool->slab);
    if (index == LB_SLAB_NONE)
        return LB_SLAB_NONE;
    struct lb_pipe *pipe = lb_pipe_at(pool, index);
    if (!pipe->in && make_pipe(pipe) < 0) {
        lb_slab_give(&pool->slab, index);
        return LB_SLAB_NONE;
    }
    return index;
}

void lb_pipe_give(struct lb_pipe_pool *pool, uint32_t pipe, int empty)
{
    if (!empty)
        close_pipe(lb_pipe_at(pool, pipe));
    lb_slab_give(&pool->slab, pipe);
}

struct lb_pipe *lb_pipe_at(const struct lb_pipe_pool *pool, uint32_t pipe)
{
    return lb_slab_at(&pool->slab, pipe);
}
