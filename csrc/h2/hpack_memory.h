/* Memory of dynamic tables, in blocks of six sizes. A table begins with a small block and moves to a larger one as it fills, so an
 * idle connection holds what its peer's headers need and no more. */
#ifndef LB_HPACK_MEMORY_H
#define LB_HPACK_MEMORY_H

#include "../core/slab.h"

enum {
    LB_HPACK_BLOCK_SIZES = 6,
    LB_HPACK_SMALLEST = 256,                                            /* bytes */
    LB_HPACK_LARGEST = LB_HPACK_SMALLEST << (LB_HPACK_BLOCK_SIZES - 1), /* twice the largest table */
};

struct lb_hpack_memory {
    struct lb_slab blocks[LB_HPACK_BLOCK_SIZES]; /* the smallest first */
};

/* Where a block is; `size` counts up from the smallest. */
struct lb_hpack_block {
    uint32_t index; /* LB_SLAB_NONE: no block */
    uint8_t size;
};

/* tables: how many may hold a block at once. */
__attribute__((warn_unused_result)) int lb_hpack_memory_open(struct lb_hpack_memory *memory, uint32_t tables);
void lb_hpack_memory_close(struct lb_hpack_memory *memory);

/* Index LB_SLAB_NONE where none is left. */
struct lb_hpack_block lb_hpack_block_take(struct lb_hpack_memory *memory, uint8_t size);
void lb_hpack_block_give(struct lb_hpack_memory *memory, struct lb_hpack_block block);

static inline uint32_t lb_hpack_block_bytes(struct lb_hpack_block block)
{
    return (uint32_t)LB_HPACK_SMALLEST << block.size;
}

static inline char *lb_hpack_block_at(const struct lb_hpack_memory *memory, struct lb_hpack_block block)
{
    return lb_slab_at(&memory->blocks[block.size], block.index);
}

#endif
