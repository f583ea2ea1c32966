#include "hpack_memory.h"

int lb_hpack_memory_open(struct lb_hpack_memory *memory, uint32_t tables)
{
    for (int size = 0; size < LB_HPACK_BLOCK_SIZES; size++) {
        int status = lb_slab_open(&memory->blocks[size], (size_t)LB_HPACK_SMALLEST << size, tables);
        if (status == 0)
            continue;
        while (size-- > 0)
            lb_slab_close(&memory->blocks[size]);
        return status;
    }
    return 0;
}

void lb_hpack_memory_close(struct lb_hpack_memory *memory)
{
    for (int size = 0; size < LB_HPACK_BLOCK_SIZES; size++)
        lb_slab_close(&memory->blocks[size]);
}

struct lb_hpack_block lb_hpack_block_take(struct lb_hpack_memory *memory, uint8_t size)
{
    return (struct lb_hpack_block){lb_slab_take(&memory->blocks[size]), size};
}

void lb_hpack_block_give(struct lb_hpack_memory *memory, struct lb_hpack_block block)
{
    if (block.index != LB_SLAB_NONE)
        lb_slab_give(&memory->blocks[block.size], block.index);
}
