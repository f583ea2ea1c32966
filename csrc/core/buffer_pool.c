#include "buffer_pool.h"

#include <sys/mman.h>

int lb_buffer_pool_open(struct lb_buffer_pool *pool, size_t bytes, uint32_t capacity, uint32_t warm)
{
    pool->warm = warm;
    return lb_slab_open(&pool->slab, bytes, capacity);
}

void lb_buffer_pool_close(struct lb_buffer_pool *pool)
{
    lb_slab_close(&pool->slab);
}

int lb_buffer_pool_ready(const struct lb_buffer_pool *pool)
{
    return pool->slab.used < pool->slab.capacity;
}

uint32_t lb_buffer_take(struct lb_buffer_pool *pool)
{
    return lb_slab_take(&pool->slab);
}

void lb_buffer_give(struct lb_buffer_pool *pool, uint32_t buffer)
{
    lb_slab_give(&pool->slab, buffer);
    if (buffer >= pool->warm)
        madvise(lb_buffer_at(pool, buffer), pool->slab.size, MADV_DONTNEED);
}

char *lb_buffer_at(const struct lb_buffer_pool *pool, uint32_t buffer)
{
    return lb_slab_at(&pool->slab, buffer);
}
