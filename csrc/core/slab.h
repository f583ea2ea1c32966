/* A fixed number of equal objects, named by index. Memory is reserved at once and touched only as it is used. */
#ifndef LB_SLAB_H
#define LB_SLAB_H

#include <stddef.h>
#include <stdint.h>

#define LB_SLAB_NONE UINT32_MAX

struct lb_slab {
    char *memory;
    uint32_t *free; /* stack of given-back indices, the warmest on top */
    uint32_t free_count;
    uint32_t touched; /* indices below this have been used */
    uint32_t used;
    uint32_t capacity;
    size_t size; /* of one object, bytes */
};

__attribute__((warn_unused_result)) int lb_slab_open(struct lb_slab *slab, size_t size, uint32_t capacity);
void lb_slab_close(struct lb_slab *slab);

/* An index, its object as it was left (zero at first), or LB_SLAB_NONE at the limit. */
uint32_t lb_slab_take(struct lb_slab *slab);
void lb_slab_give(struct lb_slab *slab, uint32_t index);

static inline void *lb_slab_at(const struct lb_slab *slab, uint32_t index)
{
    return slab->memory + (size_t)index * slab->size;
}

/* The index of an object. Its size is a constant to the compiler here, so no division is made. */
#define lb_slab_index(slab, object) ((uint32_t)((size_t)((const char *)(object) - (slab)->memory) / sizeof *(object)))

#endif
