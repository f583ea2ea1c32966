#include "slab.h"

#include <errno.h>
#include <sys/mman.h>

static void *reserve(size_t bytes)
{
    return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
}

int lb_slab_open(struct lb_slab *slab, size_t size, uint32_t capacity)
{
    *slab = (struct lb_slab){.size = size, .capacity = capacity};
    if (!capacity)
        return -EINVAL;
    slab->memory = reserve(size * capacity);
    if (slab->memory == MAP_FAILED) {
        slab->memory = NULL;
        return -ENOMEM;
    }
    slab->free = reserve(sizeof *slab->free * capacity);
    if (slab->free == MAP_FAILED) {
        slab->free = NULL;
        lb_slab_close(slab);
        return -ENOMEM;
    }
    return 0;
}

void lb_slab_close(struct lb_slab *slab)
{
    if (slab->memory)
        munmap(slab->memory, slab->size * slab->capacity);
    if (slab->free)
        munmap(slab->free, sizeof *slab->free * slab->capacity);
    slab->memory = NULL;
    slab->free = NULL;
}

uint32_t lb_slab_take(struct lb_slab *slab)
{
    if (slab->used == slab->capacity)
        return LB_SLAB_NONE;
    slab->used++;
    return slab->free_count ? slab->free[--slab->free_count] : slab->touched++;
}

void lb_slab_give(struct lb_slab *slab, uint32_t index)
{
    slab->used--;
    slab->free[slab->free_count++] = index;
}
