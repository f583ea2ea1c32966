#include "hpack_write.h"

#include <string.h>

#include "hpack_static.h"
#include "huffman.h"

/* A field to write, and what the tables know of it. */
struct field {
    const char *name;
    const char *value;
    uint32_t name_length;
    uint32_t value_length;
    uint32_t index; /* of the field, or of its name; 0: none */
    int whole;      /* the index stands for the value as well */
    uint16_t hash;
};

void lb_hpack_writer_open(struct lb_hpack_writer *writer, struct lb_hpack_memory *memory)
{
    lb_hpack_table_open(&writer->table, memory);
    writer->smallest = LB_HPACK_TABLE_BYTES;
    writer->resized = 0;
}

void lb_hpack_writer_close(struct lb_hpack_writer *writer)
{
    lb_hpack_table_close(&writer->table);
}

void lb_hpack_writer_resize(struct lb_hpack_writer *writer, uint32_t limit)
{
    uint16_t used = (uint16_t)(limit < LB_HPACK_TABLE_BYTES ? limit : LB_HPACK_TABLE_BYTES);
    if (used == writer->table.limit)
        return;
    lb_hpack_table_resize(&writer->table, used);
    if (!writer->resized || used < writer->smallest)
        writer->smallest = used;
    writer->resized = 1;
}

/* --- pieces --------------------------------------------------------------------------------------------------------- */

/* RFC 7541 5.1. pattern: the bits above the prefix. */
static uint8_t *write_integer(uint8_t *out, uint8_t pattern, int prefix_bits, uint32_t value)
{
    uint32_t mask = (1u << prefix_bits) - 1;
    if (value < mask) {
        *out++ = (uint8_t)(pattern | value);
        return out;
    }
    *out++ = (uint8_t)(pattern | mask);
    for (value -= mask; value >= 0x80; value >>= 7)
        *out++ = (uint8_t)(value | 0x80);
    *out++ = (uint8_t)value;
    return out;
}

static uint8_t *write_plain(uint8_t *out, const char *text, uint32_t length)
{
    out = write_integer(out, 0, 7, length);
    memcpy(out, text, length);
    return out + length;
}

/* By Huffman's code where that is shorter. */
static uint8_t *write_coded(uint8_t *out, const char *text, uint32_t length)
{
    uint32_t coded = lb_huffman_size(text, length);
    if (coded >= length)
        return write_plain(out, text, length);
    return lb_huffman_encode(write_integer(out, 0x80, 7, coded), text, length);
}

uint8_t *lb_hpack_write_begin(struct lb_hpack_writer *writer, uint8_t *out)
{
    if (!writer->resized)
        return out;
    if (writer->smallest < writer->table.limit)
        out = write_integer(out, 0x20, 5, writer->smallest);
    writer->resized = 0;
    return write_integer(out, 0x20, 5, writer->table.limit);
}

/* --- what is known --------------------------------------------------------------------------------------------------- */

static uint32_t four_at(const char *text)
{
    uint32_t word;
    memcpy(&word, text, sizeof word);
    return word;
}

/* Its first and its last four bytes, or all of a shorter one. */
static uint64_t sample(const char *text, uint32_t length)
{
    uint64_t word = 0;
    if (length >= 4)
        return (uint64_t)four_at(text) << 32 | four_at(text + length - 4);
    for (uint32_t i = 0; i < length; i++)
        word = word << 8 | (uint8_t)text[i];
    return word;
}

/* Entries of one hash are compared, so this is to be cheap rather than even. */
static uint16_t hash_of(const char *name, uint32_t name_length, const char *value, uint32_t value_length)
{
    uint64_t words = sample(name, name_length) * 31 + sample(value, value_length) + ((uint64_t)name_length << 16 ^ value_length);
    return (uint16_t)(words * UINT64_C(0x9e3779b97f4a7c15) >> 48);
}

static int is_entry(const struct lb_hpack_table *table, const struct lb_hpack_entry *entry, const struct field *field)
{
    if (entry->hash != field->hash || entry->name_length != field->name_length || entry->value_length != field->value_length)
        return 0;
    const char *text = lb_hpack_table_text(table, entry);
    return memcmp(text, field->name, field->name_length) == 0 &&
           memcmp(text + field->name_length, field->value, field->value_length) == 0;
}

static void find_remembered(const struct lb_hpack_table *table, struct field *field)
{
    field->hash = hash_of(field->name, field->name_length, field->value, field->value_length);
    for (uint32_t i = 0; i < table->count; i++)
        if (is_entry(table, lb_hpack_table_at(table, i), field)) {
            field->index = LB_HPACK_STATIC + 1 + i;
            field->whole = 1;
            return;
        }
}

/* A value that would push most others out is not worth remembering. */
static int is_worth_it(const struct lb_hpack_table *table, const struct field *field)
{
    return field->name_length + field->value_length + LB_HPACK_ENTRY_COST <= table->limit / 2u;
}

/* --- the field ------------------------------------------------------------------------------------------------------ */

static uint8_t *write_literal(uint8_t *out, uint8_t pattern, int prefix_bits, const struct field *field)
{
    out = write_integer(out, pattern, prefix_bits, field->index);
    if (field->index == 0)
        out = write_plain(out, field->name, field->name_length);
    return write_plain(out, field->value, field->value_length);
}

/* What is remembered is written once and read once: it is worth coding. */
static uint8_t *write_remembered(uint8_t *out, const struct field *field)
{
    out = write_integer(out, 0x40, 6, field->index);
    if (field->index == 0)
        out = write_coded(out, field->name, field->name_length);
    return write_coded(out, field->value, field->value_length);
}

/* Without memory for the table the field is a literal: the peer's table stays the same as ours. */
static uint8_t *remember(struct lb_hpack_writer *writer, uint8_t *out, const struct field *field)
{
    struct lb_hpack_table *table = &writer->table;
    if (!is_worth_it(table, field) ||
        lb_hpack_table_insert(table, field->name, field->name_length, field->value, field->value_length, field->hash) != 0)
        return write_literal(out, 0x00, 4, field);
    return write_remembered(out, field);
}

uint8_t *lb_hpack_write_status(struct lb_hpack_writer *writer, uint8_t *out, uint32_t status)
{
    char digits[3] = {(char)('0' + status / 100), (char)('0' + status / 10 % 10), (char)('0' + status % 10)};
    if (status != 200)
        return lb_hpack_write(writer, out, ":status", 7, digits, 3, LB_HPACK_REMEMBER);
    *out = 0x80 | LB_HPACK_STATIC_200;
    return out + 1;
}

uint8_t *lb_hpack_write(struct lb_hpack_writer *writer, uint8_t *out, const char *name, uint32_t name_length, const char *value,
                        uint32_t value_length, enum lb_hpack_keeping keeping)
{
    struct field field = {.name = name, .value = value, .name_length = name_length, .value_length = value_length};
    field.index = lb_hpack_static_find(name, name_length, value, value_length, &field.whole);
    if (!field.whole && keeping == LB_HPACK_REMEMBER)
        find_remembered(&writer->table, &field);
    if (field.whole && keeping != LB_HPACK_SECRET)
        return write_integer(out, 0x80, 7, field.index);
    if (keeping == LB_HPACK_REMEMBER)
        return remember(writer, out, &field);
    return write_literal(out, keeping == LB_HPACK_SECRET ? 0x10 : 0x00, 4, &field);
}
