#include "hpack_table.h"

#include <errno.h>
#include <string.h>

static struct lb_hpack_entry *records(const struct lb_hpack_table *table)
{
    return (struct lb_hpack_entry *)lb_hpack_block_at(table->memory, table->block);
}

static uint32_t record_room(struct lb_hpack_block block)
{
    return lb_hpack_block_bytes(block) / (uint32_t)sizeof(struct lb_hpack_entry);
}

static int has_block(const struct lb_hpack_table *table)
{
    return table->block.index != LB_SLAB_NONE;
}

void lb_hpack_table_open(struct lb_hpack_table *table, struct lb_hpack_memory *memory)
{
    *table = (struct lb_hpack_table){.memory = memory, .block = {LB_SLAB_NONE, 0}, .limit = LB_HPACK_TABLE_BYTES};
}

void lb_hpack_table_close(struct lb_hpack_table *table)
{
    lb_hpack_block_give(table->memory, table->block);
    lb_hpack_table_open(table, table->memory);
}

const struct lb_hpack_entry *lb_hpack_table_at(const struct lb_hpack_table *table, uint32_t index)
{
    return records(table) + table->newest + index;
}

const char *lb_hpack_table_text(const struct lb_hpack_table *table, const struct lb_hpack_entry *entry)
{
    return lb_hpack_block_at(table->memory, table->block) + entry->at;
}

static uint32_t cost(uint32_t name_length, uint32_t value_length)
{
    return name_length + value_length + LB_HPACK_ENTRY_COST;
}

static void evict_oldest(struct lb_hpack_table *table)
{
    const struct lb_hpack_entry *oldest = lb_hpack_table_at(table, --table->count);
    table->used -= (uint16_t)cost(oldest->name_length, oldest->value_length);
    table->text_begin += (uint16_t)(oldest->name_length + oldest->value_length);
}

void lb_hpack_table_resize(struct lb_hpack_table *table, uint32_t limit)
{
    table->limit = (uint16_t)limit;
    while (table->used > limit)
        evict_oldest(table);
}

/* Copy what is in the table to the two ends of a block, which may be its own. */
static void settle(struct lb_hpack_table *table, struct lb_hpack_block block)
{
    char *to = lb_hpack_block_at(table->memory, block), *from = lb_hpack_block_at(table->memory, table->block);
    uint16_t text = (uint16_t)(table->text_end - table->text_begin), newest = (uint16_t)(record_room(block) - table->count);
    struct lb_hpack_entry *moved = (struct lb_hpack_entry *)to + newest;
    for (uint32_t i = table->count; i-- > 0;) {
        moved[i] = records(table)[table->newest + i];
        moved[i].at -= table->text_begin;
    }
    memmove(to, from + table->text_begin, text);
    table->text_begin = 0;
    table->text_end = text;
    table->newest = newest;
}

static int change_block(struct lb_hpack_table *table, uint8_t size)
{
    struct lb_hpack_block block = lb_hpack_block_take(table->memory, size);
    if (block.index == LB_SLAB_NONE)
        return -ENOMEM;
    if (has_block(table))
        settle(table, block);
    else
        table->newest = (uint16_t)record_room(block);
    lb_hpack_block_give(table->memory, table->block);
    table->block = block;
    return 0;
}

static uint32_t gap(const struct lb_hpack_table *table)
{
    return table->newest * (uint32_t)sizeof(struct lb_hpack_entry) - table->text_end;
}

/* The smallest block that a quarter of stays free with so many bytes in it: with less, text would be moved too often. */
static uint8_t size_for(uint32_t bytes)
{
    uint8_t size = 0;
    while (size < LB_HPACK_BLOCK_SIZES - 1 && bytes > ((uint32_t)LB_HPACK_SMALLEST << size) / 4 * 3)
        size++;
    return size;
}

/* The largest block always has room: it is twice what the table may hold. */
int lb_hpack_table_reserve(struct lb_hpack_table *table, uint32_t text)
{
    uint32_t need = text + (uint32_t)sizeof(struct lb_hpack_entry);
    if (has_block(table) && gap(table) >= need)
        return 0;
    uint32_t held = (uint32_t)(table->text_end - table->text_begin) + table->count * (uint32_t)sizeof(struct lb_hpack_entry);
    uint8_t size = size_for(held + need);
    if (!has_block(table) || size > table->block.size)
        return change_block(table, size);
    settle(table, table->block);
    return 0;
}

int lb_hpack_table_insert(struct lb_hpack_table *table, const char *name, uint32_t name_length, const char *value,
                          uint32_t value_length, uint16_t hash)
{
    uint64_t total = (uint64_t)name_length + value_length + LB_HPACK_ENTRY_COST;
    if (total <= table->limit && lb_hpack_table_reserve(table, name_length + value_length) != 0)
        return -ENOMEM;
    while (table->count && table->used + total > table->limit)
        evict_oldest(table);
    if (total > table->limit)
        return 0;
    char *text = lb_hpack_block_at(table->memory, table->block) + table->text_end;
    memcpy(text, name, name_length);
    memcpy(text + name_length, value, value_length);
    records(table)[--table->newest] =
        (struct lb_hpack_entry){table->text_end, (uint16_t)name_length, (uint16_t)value_length, hash};
    table->text_end += (uint16_t)(name_length + value_length);
    table->used += (uint16_t)total;
    table->count++;
    return 0;
}
