#include "block.h"

#include <string.h>

#include "../l7.h"

void lb_h2_block_open(struct lb_h2_block *block)
{
    *block = (struct lb_h2_block){.lines = LB_SLAB_NONE, .part = LB_SLAB_NONE};
}

void lb_h2_block_begin(struct lb_h2_block *block, struct lb_hpack_reader *reader, uint32_t stream, int end_stream)
{
    lb_h2_block_open(block);
    block->stream = stream;
    block->end_stream = (uint8_t)(end_stream != 0);
    lb_hpack_block_begin(reader);
}

char *lb_h2_block_lines(const struct lb_l7 *l7, const struct lb_h2_block *block)
{
    return block->lines == LB_SLAB_NONE ? NULL : lb_heads_at(l7->ctx, &l7->heads, block->lines);
}

static void drop_part(struct lb_l7 *l7, struct lb_h2_block *block)
{
    if (block->part == LB_SLAB_NONE)
        return;
    lb_buffer_give(&l7->ctx->buffers, block->part);
    l7->ctx->row->buffers--;
    block->part = LB_SLAB_NONE;
}

void lb_h2_block_drop(struct lb_l7 *l7, struct lb_h2_block *block)
{
    drop_part(l7, block);
    if (block->lines != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, block->lines);
    lb_h2_block_open(block);
}

/* --- fields ------------------------------------------------------------------------------------------------------------- */

/* See that the next lines have room. `left` bytes of the block are at hand, and Huffman's shortest code has five bits. */
static void make_room(struct lb_l7 *l7, struct lb_h2_block *block, uint32_t at, uint32_t left)
{
    uint32_t wanted = at + LB_HPACK_LINE_ROOM + left * 8 / 5;
    if (block->lines == LB_SLAB_NONE)
        block->lines = lb_heads_take(&l7->heads);
    int grown = wanted <= lb_heads_room(block->lines) || lb_heads_grow(l7->ctx, &l7->heads, &block->lines, at) == 0;
    block->too_large |= !grown && at + LB_HPACK_LINE_ROOM > lb_heads_room(block->lines);
}

/* All representations that are whole; *used: their bytes. */
static enum lb_h2_error read_fields(struct lb_l7 *l7, struct lb_h2_block *block, struct lb_hpack_reader *reader,
                                    const uint8_t *bytes, uint32_t count, uint32_t *used, uint32_t at, lb_h2_field_fn take,
                                    void *context)
{
    struct lb_hpack_field field;
    uint32_t one;
    for (*used = 0; *used < count; *used += one) {
        make_room(l7, block, at, count - *used);
        reader->dropping = block->too_large;
        char *base = lb_h2_block_lines(l7, block);
        uint32_t to = block->too_large ? 0 : at;
        switch (lb_hpack_read(reader, bytes + *used, count - *used, &one, base + to, lb_heads_room(block->lines) - to, &field)) {
        case LB_HPACK_FIELD:
            at = take(context, base, &field);
            break;
        case LB_HPACK_RESIZED:
            break;
        case LB_HPACK_LONG:
            block->too_large = 1;
            break;
        case LB_HPACK_PARTIAL:
            return LB_H2_NO_ERROR;
        case LB_HPACK_BAD:
            return LB_H2_COMPRESSION_ERROR;
        case LB_HPACK_NO_MEMORY:
            return LB_H2_INTERNAL_ERROR;
        }
    }
    return LB_H2_NO_ERROR;
}

/* --- representations that come in parts --------------------------------------------------------------------------------- */

/* Put the bytes behind those that are kept. */
static enum lb_h2_error keep(struct lb_l7 *l7, struct lb_h2_block *block, const uint8_t *bytes, uint32_t count)
{
    struct lb_buffer_pool *buffers = &l7->ctx->buffers;
    if (block->part == LB_SLAB_NONE) {
        if (!lb_buffer_pool_ready(buffers))
            return LB_H2_INTERNAL_ERROR;
        block->part = lb_buffer_take(buffers);
        l7->ctx->row->buffers++;
        block->part_count = 0;
    }
    if (count > LB_BUFFER_BYTES - block->part_count)
        return LB_H2_ENHANCE_YOUR_CALM;
    memcpy(lb_buffer_at(buffers, block->part) + block->part_count, bytes, count);
    block->part_count += count;
    return LB_H2_NO_ERROR;
}

enum lb_h2_error lb_h2_block_read(struct lb_l7 *l7, struct lb_h2_block *block, struct lb_hpack_reader *reader,
                                  const uint8_t *bytes, uint32_t count, uint32_t at, lb_h2_field_fn field, void *context)
{
    uint32_t used;
    block->bytes += count;
    if (block->bytes > LB_H2_BLOCK_MOST)
        return LB_H2_ENHANCE_YOUR_CALM;
    if (block->part == LB_SLAB_NONE) {
        enum lb_h2_error error = read_fields(l7, block, reader, bytes, count, &used, at, field, context);
        return error != LB_H2_NO_ERROR || used == count ? error : keep(l7, block, bytes + used, count - used);
    }
    enum lb_h2_error error = keep(l7, block, bytes, count);
    if (error != LB_H2_NO_ERROR)
        return error;
    uint8_t *kept = (uint8_t *)lb_buffer_at(&l7->ctx->buffers, block->part);
    error = read_fields(l7, block, reader, kept, block->part_count, &used, at, field, context);
    block->part_count -= used;
    if (!block->part_count)
        drop_part(l7, block);
    else if (used)
        memmove(kept, kept + used, block->part_count);
    return error;
}

enum lb_h2_error lb_h2_block_end(const struct lb_h2_block *block)
{
    return block->part == LB_SLAB_NONE ? LB_H2_NO_ERROR : LB_H2_COMPRESSION_ERROR;
}
