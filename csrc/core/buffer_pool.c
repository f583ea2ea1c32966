#include "buffer_pool.h"

#include <sys/mman.h>

enum {
    SPARED_MS = 1000, /* what nobody needs for so long is given back ... */
    AT_ONCE = 64,     /* ... some in a turn, ... */
    FURTHER_MS = 16,  /* ... and more of it so much later */
};

int lb_buffer_pool_open(struct lb_buffer_pool *pool, size_t bytes, uint32_t capacity, uint32_t warm)
{
    pool->warm = warm;
    pool->bare = pool->spared = 0;
    pool->due_ms = 0;
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

static uint32_t smaller(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

uint32_t lb_buffer_take(struct lb_buffer_pool *pool)
{
    uint32_t buffer = lb_slab_take(&pool->slab);
    pool->bare = smaller(pool->bare, pool->slab.free_count);
    pool->spared = smaller(pool->spared, pool->slab.free_count);
    return buffer;
}

void lb_buffer_give(struct lb_buffer_pool *pool, uint32_t buffer)
{
    lb_slab_give(&pool->slab, buffer);
}

char *lb_buffer_at(const struct lb_buffer_pool *pool, uint32_t buffer)
{
    return lb_slab_at(&pool->slab, buffer);
}

/* --- memory that is not needed ---------------------------------------------------------------------------------------- */

/* How many free ones have memory that is not to be kept. */
static uint32_t too_many(const struct lb_buffer_pool *pool)
{
    uint32_t held = pool->slab.touched - pool->bare, more = held > pool->warm ? held - pool->warm : 0;
    return smaller(more, pool->slab.free_count - pool->bare);
}

/* Some of those that were not needed. Returns whether more of them are left. */
static int give_back(struct lb_buffer_pool *pool)
{
    uint32_t unneeded = pool->spared > pool->bare ? pool->spared - pool->bare : 0;
    uint32_t all = smaller(unneeded, too_many(pool)), count = smaller(all, AT_ONCE);
    for (uint32_t i = 0; i < count; i++)
        madvise(lb_buffer_at(pool, pool->slab.free[pool->bare++]), pool->slab.size, MADV_DONTNEED);
    return all > count;
}

static void look_later(struct lb_buffer_pool *pool, uint64_t now_ms)
{
    pool->due_ms = too_many(pool) ? now_ms + SPARED_MS : 0;
    pool->spared = pool->slab.free_count;
}

void lb_buffer_pool_trim(struct lb_buffer_pool *pool, uint64_t now_ms)
{
    if (!pool->due_ms)
        look_later(pool, now_ms);
    else if (now_ms < pool->due_ms)
        return;
    else if (give_back(pool))
        pool->due_ms = now_ms + FURTHER_MS;
    else
        look_later(pool, now_ms);
}

int lb_buffer_pool_wait(const struct lb_buffer_pool *pool, uint64_t now_ms)
{
    if (!pool->due_ms)
        return -1;
    return pool->due_ms > now_ms ? (int)(pool->due_ms - now_ms) : 0;
}
