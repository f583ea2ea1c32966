#include "hpack_read.h"

#include <string.h>

#include "hpack_static.h"
#include "huffman.h"

/* Where the reading of one representation stands. */
struct cursor {
    const uint8_t *at;
    const uint8_t *end;
};

/* A string as it stands in the block (RFC 7541 5.2). */
struct string {
    const uint8_t *bytes;
    uint32_t length;
    int coded;
};

/* One representation, read as far as its bytes go. */
struct representation {
    uint32_t index; /* of the field, or of its name; 0: the name is a string */
    int whole;      /* the index stands for the value as well */
    int enters;     /* the field goes into the table */
    int never;
    struct string name;
    struct string value;
};

/* Where a line is put together. */
struct line {
    char *at;
    const char *end;
};

void lb_hpack_reader_open(struct lb_hpack_reader *reader, struct lb_hpack_memory *memory)
{
    lb_hpack_table_open(&reader->table, memory);
    lb_hpack_block_begin(reader);
}

void lb_hpack_reader_close(struct lb_hpack_reader *reader)
{
    lb_hpack_table_close(&reader->table);
}

void lb_hpack_block_begin(struct lb_hpack_reader *reader)
{
    reader->in_fields = reader->dropping = 0;
}

/* --- syntax --------------------------------------------------------------------------------------------------------- */

/* RFC 7541 5.1. What needs more than 28 bits is refused: nobody has a table or a string so large. */
static enum lb_hpack_result read_integer(struct cursor *cursor, int prefix_bits, uint32_t *value)
{
    uint32_t mask = (1u << prefix_bits) - 1;
    if (cursor->at == cursor->end)
        return LB_HPACK_PARTIAL;
    *value = *cursor->at++ & mask;
    if (*value < mask)
        return LB_HPACK_FIELD;
    for (int shift = 0; shift < 28; shift += 7) {
        if (cursor->at == cursor->end)
            return LB_HPACK_PARTIAL;
        uint8_t byte = *cursor->at++;
        *value += (uint32_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80))
            return LB_HPACK_FIELD;
    }
    return LB_HPACK_BAD;
}

static enum lb_hpack_result read_string(struct cursor *cursor, struct string *string)
{
    if (cursor->at == cursor->end)
        return LB_HPACK_PARTIAL;
    string->coded = *cursor->at & 0x80;
    enum lb_hpack_result result = read_integer(cursor, 7, &string->length);
    if (result != LB_HPACK_FIELD)
        return result;
    if ((uint64_t)(cursor->end - cursor->at) < string->length)
        return LB_HPACK_PARTIAL;
    string->bytes = cursor->at;
    cursor->at += string->length;
    return LB_HPACK_FIELD;
}

static enum lb_hpack_result read_literal(struct cursor *cursor, int prefix_bits, struct representation *read)
{
    enum lb_hpack_result result = read_integer(cursor, prefix_bits, &read->index);
    if (result == LB_HPACK_FIELD && read->index == 0)
        result = read_string(cursor, &read->name);
    return result == LB_HPACK_FIELD ? read_string(cursor, &read->value) : result;
}

static enum lb_hpack_result read_indexed(struct cursor *cursor, struct representation *read)
{
    read->whole = 1;
    enum lb_hpack_result result = read_integer(cursor, 7, &read->index);
    return result == LB_HPACK_FIELD && read->index == 0 ? LB_HPACK_BAD : result;
}

/* RFC 7541 6.3: at a block's beginning only (4.2), and never above what we announced. */
static enum lb_hpack_result read_resize(struct lb_hpack_reader *reader, struct cursor *cursor)
{
    uint32_t limit;
    enum lb_hpack_result result = read_integer(cursor, 5, &limit);
    if (result != LB_HPACK_FIELD)
        return result;
    if (reader->in_fields || limit > LB_HPACK_TABLE_BYTES)
        return LB_HPACK_BAD;
    lb_hpack_table_resize(&reader->table, limit);
    return LB_HPACK_RESIZED;
}

static enum lb_hpack_result read_representation(struct lb_hpack_reader *reader, struct cursor *cursor,
                                                struct representation *read)
{
    if (cursor->at == cursor->end)
        return LB_HPACK_PARTIAL;
    uint8_t first = *cursor->at;
    if (first & 0x80)
        return read_indexed(cursor, read);
    read->enters = first >= 0x40;
    if (read->enters)
        return read_literal(cursor, 6, read);
    if (first >= 0x20)
        return read_resize(reader, cursor);
    read->never = first >= 0x10;
    return read_literal(cursor, 4, read);
}

/* --- the line ------------------------------------------------------------------------------------------------------- */

static enum lb_hpack_result put(struct line *line, const char *text, uint32_t length)
{
    if ((uint64_t)(line->end - line->at) < length)
        return LB_HPACK_LONG;
    memcpy(line->at, text, length);
    line->at += length;
    return LB_HPACK_FIELD;
}

static enum lb_hpack_result put_string(struct line *line, const struct string *string)
{
    if (!string->coded)
        return put(line, (const char *)string->bytes, string->length);
    int64_t length = lb_huffman_decode(line->at, (uint32_t)(line->end - line->at), string->bytes, string->length);
    if (length < 0)
        return length == LB_HUFFMAN_LONG ? LB_HPACK_LONG : LB_HPACK_BAD;
    line->at += length;
    return LB_HPACK_FIELD;
}

/* The entry of this index has a name and a value: where, and how long. 0: there is no such entry. */
static int look_up(const struct lb_hpack_reader *reader, uint32_t index, struct string *name, struct string *value)
{
    if (index <= LB_HPACK_STATIC) {
        const struct lb_hpack_static *entry = lb_hpack_static_at(index);
        *name = (struct string){(const uint8_t *)entry->name, entry->name_length, 0};
        *value = (struct string){(const uint8_t *)entry->value, entry->value_length, 0};
        return 1;
    }
    index -= LB_HPACK_STATIC + 1;
    if (index >= reader->table.count)
        return 0;
    const struct lb_hpack_entry *entry = lb_hpack_table_at(&reader->table, index);
    const uint8_t *text = (const uint8_t *)lb_hpack_table_text(&reader->table, entry);
    *name = (struct string){text, entry->name_length, 0};
    *value = (struct string){text + entry->name_length, entry->value_length, 0};
    return 1;
}

/* Names of the table in place of indices. 0: an index means nothing. */
static int resolve(const struct lb_hpack_reader *reader, struct representation *read)
{
    struct string unused;
    return read->index == 0 || look_up(reader, read->index, &read->name, read->whole ? &read->value : &unused);
}

/* A field of plain strings, of which there are most: the tables' are. 0: it has no room. */
static int put_plain(struct line *line, const struct representation *read, struct lb_hpack_field *field)
{
    uint32_t name_length = read->name.length, value_length = read->value.length;
    if ((uint64_t)(line->end - line->at) < (uint64_t)name_length + value_length + 4)
        return 0;
    char *name = line->at, *value = name + name_length + 2;
    memcpy(name, read->name.bytes, name_length);
    memcpy(value - 2, ": ", 2);
    if (value_length)
        memcpy(value, read->value.bytes, value_length);
    memcpy(value + value_length, "\r\n", 2);
    field->name = name;
    field->value = value;
    field->name_length = name_length;
    field->value_length = value_length;
    return 1;
}

static enum lb_hpack_result put_field(struct line *line, const struct representation *read, struct lb_hpack_field *field)
{
    if (!read->name.coded && !read->value.coded)
        return put_plain(line, read, field) ? LB_HPACK_FIELD : LB_HPACK_LONG;
    field->name = line->at;
    enum lb_hpack_result result = put_string(line, &read->name);
    if (result != LB_HPACK_FIELD)
        return result;
    field->name_length = (uint32_t)(line->at - field->name);
    if ((result = put(line, ": ", 2)) != LB_HPACK_FIELD)
        return result;
    field->value = line->at;
    if ((result = put_string(line, &read->value)) != LB_HPACK_FIELD)
        return result;
    field->value_length = (uint32_t)(line->at - field->value);
    return put(line, "\r\n", 2);
}

/* A field that no room was found for is too large for the table as well, and empties it (RFC 7541 4.4). */
static enum lb_hpack_result enter(struct lb_hpack_reader *reader, enum lb_hpack_result result, const struct lb_hpack_field *field)
{
    struct lb_hpack_table *table = &reader->table;
    if (result == LB_HPACK_LONG) {
        uint32_t limit = table->limit;
        lb_hpack_table_resize(table, 0);
        lb_hpack_table_resize(table, limit);
        return result;
    }
    if (lb_hpack_table_insert(table, field->name, field->name_length, field->value, field->value_length, 0) != 0)
        return LB_HPACK_NO_MEMORY;
    return result;
}

enum lb_hpack_result lb_hpack_read(struct lb_hpack_reader *reader, const uint8_t *bytes, uint32_t count, uint32_t *used,
                                   char *out, uint32_t room, struct lb_hpack_field *field)
{
    struct cursor cursor = {bytes, bytes + count};
    struct representation read = {0};
    enum lb_hpack_result result = read_representation(reader, &cursor, &read);
    if (result == LB_HPACK_PARTIAL || result == LB_HPACK_BAD)
        return result;
    *used = (uint32_t)(cursor.at - bytes);
    if (result == LB_HPACK_RESIZED)
        return result;
    reader->in_fields = 1;
    if (!resolve(reader, &read))
        return LB_HPACK_BAD;
    if (reader->dropping && !read.enters)
        return LB_HPACK_LONG;
    struct line line = {out, out + room};
    result = put_field(&line, &read, field);
    field->static_index = (uint8_t)(read.index <= LB_HPACK_STATIC ? read.index : 0);
    field->never = (uint8_t)read.never;
    if (read.enters && result != LB_HPACK_BAD)
        result = enter(reader, result, field);
    return reader->dropping && result == LB_HPACK_FIELD ? LB_HPACK_LONG : result;
}
