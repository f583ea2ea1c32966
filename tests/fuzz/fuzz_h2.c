/* libFuzzer's target for the HTTP/2 codec: frames and, in their blocks, HPACK. Beside reads too far it checks what must hold of any
 * reading: all bytes are used, tables keep their bounds, and what we read we can write, and read the same. */
#include <stdlib.h>
#include <string.h>

#include "h2/frame_read.h"
#include "h2/hpack_read.h"
#include "h2/hpack_write.h"

enum { BLOCK = 1 << 16, ROOM = LB_HPACK_LINE_ROOM * 2 };

static struct lb_hpack_memory memory;
static char line[ROOM];
static uint8_t block[BLOCK];
static uint32_t block_count;

static void demand(int condition)
{
    if (!condition)
        abort();
}

/* What we write of a field comes back as it was. */
static void check_again(struct lb_hpack_writer *writer, struct lb_hpack_reader *again, const struct lb_hpack_field *field)
{
    static uint8_t out[ROOM + LB_HPACK_WRITE_ROOM];
    static char back_line[ROOM];
    struct lb_hpack_field back;
    uint32_t used = 0;
    enum lb_hpack_keeping keeping = field->never ? LB_HPACK_SECRET : LB_HPACK_REMEMBER;
    uint32_t count =
        (uint32_t)(lb_hpack_write(writer, out, field->name, field->name_length, field->value, field->value_length, keeping) -
                   out);
    lb_hpack_block_begin(again);
    demand(lb_hpack_read(again, out, count, &used, back_line, ROOM, &back) == LB_HPACK_FIELD && used == count);
    demand(back.name_length == field->name_length && memcmp(back.name, field->name, back.name_length) == 0);
    demand(back.value_length == field->value_length && memcmp(back.value, field->value, back.value_length) == 0);
}

struct pair {
    struct lb_hpack_reader reader, again;
    struct lb_hpack_writer writer;
};

static void read_block(struct pair *pair)
{
    uint32_t used = 0;
    lb_hpack_block_begin(&pair->reader);
    for (uint32_t at = 0; at < block_count; at += used) {
        struct lb_hpack_field field;
        enum lb_hpack_result result = lb_hpack_read(&pair->reader, block + at, block_count - at, &used, line, ROOM, &field);
        demand(pair->reader.table.used <= pair->reader.table.limit && pair->reader.table.limit <= LB_HPACK_TABLE_BYTES);
        if (result == LB_HPACK_PARTIAL || result == LB_HPACK_BAD)
            return;
        demand(used > 0 && used <= block_count - at);
        if (result == LB_HPACK_FIELD)
            check_again(&pair->writer, &pair->again, &field);
    }
}

static void take(struct pair *pair, const struct lb_h2_event *event)
{
    if (event->kind == LB_H2_BLOCK_BEGINS)
        block_count = 0;
    if (event->kind == LB_H2_BLOCK && event->count <= BLOCK - block_count) {
        memcpy(block + block_count, event->bytes, event->count);
        block_count += event->count;
    }
    if (event->kind == LB_H2_BLOCK_ENDS)
        read_block(pair);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (!memory.blocks[0].memory)
        demand(lb_hpack_memory_open(&memory, 8) == 0);
    struct pair pair;
    struct lb_h2_frame_reader frames;
    lb_hpack_reader_open(&pair.reader, &memory);
    lb_hpack_reader_open(&pair.again, &memory);
    lb_hpack_writer_open(&pair.writer, &memory);
    lb_h2_frame_reader_open(&frames, data[0] & 1);
    for (size_t at = 1; at < size;) {
        uint32_t used = 0, here = (uint32_t)(data[0] > 1 && data[0] < size - at ? data[0] : size - at);
        struct lb_h2_event event = lb_h2_frame_read(&frames, data + at, here, &used);
        demand(used <= here && (event.kind != LB_H2_MORE || used == here));
        take(&pair, &event);
        at += used;
    }
    lb_hpack_reader_close(&pair.reader);
    lb_hpack_reader_close(&pair.again);
    lb_hpack_writer_close(&pair.writer);
    for (int i = 0; i < LB_HPACK_BLOCK_SIZES; i++)
        demand(memory.blocks[i].used == 0);
    return 0;
}
