/* The HTTP/2 codec as a program, for the tests to speak to: a command a line in, an answer a line out, bytes in hexadecimal.
 *
 *   read CUT HEX          a header block, CUT bytes at a time (0: at once): "name=value" of each field, or what is wrong
 *   write KEEP N=V ...    a header block of these fields
 *   peer BYTES            the peer's table size
 *   frames SERVER CUT HEX frames, CUT bytes at a time: the events
 *   block FRAME HEX       a header block as HEADERS and CONTINUATION
 *   request END N=V ...   a request of these fields as HTTP/1.1 would say it, or what is wrong with it
 *   new                   tables anew */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "h2/frame_read.h"
#include "h2/frame_write.h"
#include "h2/hpack_read.h"
#include "h2/hpack_write.h"
#include "l7/h2/request.h"

enum { ROOM = 1 << 20 };

static struct lb_hpack_memory memory;
static struct lb_hpack_reader reader;
static struct lb_hpack_writer writer;
static char text[3 * ROOM];

/* --- bytes ---------------------------------------------------------------------------------------------------------- */

/* In memory of their own, so that a read too far is seen. */
struct bytes {
    uint8_t *at;
    uint32_t count;
};

static struct bytes unhex(const char *hex)
{
    struct bytes bytes = {malloc(strlen(hex) / 2 + 1), (uint32_t)(strlen(hex) / 2)};
    CHECK(bytes.at);
    for (uint32_t i = 0; i < bytes.count; i++) {
        char digits[3] = {hex[2 * i], hex[2 * i + 1], 0};
        bytes.at[i] = (uint8_t)strtoul(digits, NULL, 16);
    }
    return bytes;
}

static void print_hex(const void *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        printf("%02x", ((const uint8_t *)bytes)[i]);
}

static void *copy_of(const uint8_t *bytes, uint32_t count)
{
    void *copy = malloc(count ? count : 1);
    CHECK(copy);
    memcpy(copy, bytes, count);
    return copy;
}

/* --- header blocks -------------------------------------------------------------------------------------------------- */

static const char *const results[] = {"field", "resized", "long", "partial", "bad", "no memory"};

/* One representation from a copy that ends where what has come ends; 0 when it goes on behind that. */
static int read_one(const uint8_t *bytes, uint32_t count, uint32_t *used)
{
    char *room = malloc(LB_HPACK_LINE_ROOM * 4);
    uint8_t *copy = copy_of(bytes, count);
    struct lb_hpack_field field;
    enum lb_hpack_result result = lb_hpack_read(&reader, copy, count, used, room, LB_HPACK_LINE_ROOM * 4, &field);
    if (result == LB_HPACK_FIELD) {
        putchar(' ');
        print_hex(field.name, field.name_length);
        putchar(field.never ? '!' : '=');
        print_hex(field.value, field.value_length);
        CHECK(memcmp(field.name + field.name_length, ": ", 2) == 0 && memcmp(field.value + field.value_length, "\r\n", 2) == 0);
    } else if (result != LB_HPACK_PARTIAL) {
        printf(" %s", results[result]);
    }
    free(copy);
    free(room);
    return result != LB_HPACK_PARTIAL && result != LB_HPACK_BAD;
}

static void read_block(uint32_t cut, const char *hex)
{
    struct bytes block = unhex(hex);
    uint32_t at = 0, used = 0;
    lb_hpack_block_begin(&reader);
    for (uint32_t come = cut && cut < block.count ? cut : block.count;;
         come = come + cut < block.count ? come + cut : block.count) {
        while (at < come && read_one(block.at + at, come - at, &used))
            at += used;
        if (come == block.count)
            break;
    }
    printf(" %u\n", block.count - at);
    free(block.at);
}

static void write_block(enum lb_hpack_keeping keeping, char *fields)
{
    uint8_t *out = malloc(ROOM), *end = lb_hpack_write_begin(&writer, out);
    CHECK(out);
    for (char *pair = strtok(fields, " \n"); pair; pair = strtok(NULL, " \n")) {
        char *equals = strchr(pair, '=');
        *equals = 0;
        struct bytes name = unhex(pair), value = unhex(equals + 1);
        uint8_t *limit = end + name.count + value.count + LB_HPACK_WRITE_ROOM;
        end = lb_hpack_write(&writer, end, (char *)name.at, name.count, (char *)value.at, value.count, keeping);
        CHECK(end <= limit);
        free(name.at);
        free(value.at);
    }
    print_hex(out, (size_t)(end - out));
    putchar('\n');
    free(out);
}

static void frame_block(uint32_t frame, const char *hex)
{
    struct bytes block = unhex(hex);
    uint8_t *out = malloc(lb_h2_block_bytes(block.count, frame));
    CHECK(out);
    memcpy(out + LB_H2_FRAME_HEAD, block.at, block.count);
    print_hex(out, (size_t)(lb_h2_frame_block(out, block.count, 1, 0, frame) - out));
    putchar('\n');
    free(out);
    free(block.at);
}

/* --- requests ------------------------------------------------------------------------------------------------------- */

/* As the reader of HPACK would write it. */
static struct lb_hpack_field line_of(char *at, struct bytes name, struct bytes value)
{
    struct lb_hpack_field field = {at, at + name.count + 2, name.count, value.count, 0, 0};
    memcpy(field.name, name.at, name.count);
    memcpy(field.name + name.count, ": ", 2);
    memcpy(field.value, value.at, value.count);
    memcpy(field.value + value.count, "\r\n", 2);
    return field;
}

static void compose_request(int end_stream, char *fields)
{
    struct lb_h2_request request = {0};
    char *lines = malloc(ROOM);
    CHECK(lines);
    for (char *pair = strtok(fields, " \n"); pair; pair = strtok(NULL, " \n")) {
        char *equals = strchr(pair, '=');
        *equals = 0;
        struct bytes name = unhex(pair), value = unhex(equals + 1);
        struct lb_hpack_field field = line_of(lines + request.end, name, value);
        lb_h2_request_field(&request, lines, &field);
        free(name.at);
        free(value.at);
    }
    char *out = malloc(lb_h2_request_most(&request, end_stream));
    if (lb_h2_request_is_malformed(&request, lines)) {
        puts("malformed");
    } else if (request.ambiguous) {
        puts("ambiguous");
    } else {
        print_hex(out, lb_h2_request_compose(out, &request, lines, end_stream, "AAAAAAAAAAAAAAAAAAAAAA=="));
        putchar('\n');
    }
    free(out);
    free(lines);
}

/* --- frames --------------------------------------------------------------------------------------------------------- */

static const char *const kinds[] = {
    [LB_H2_SETTING] = "setting",
    [LB_H2_SETTINGS_END] = "settings",
    [LB_H2_SETTINGS_ACK] = "settings_ack",
    [LB_H2_PINGED] = "ping",
    [LB_H2_PONGED] = "pong",
    [LB_H2_BLOCK_BEGINS] = "headers",
    [LB_H2_BLOCK] = "block",
    [LB_H2_BLOCK_ENDS] = "end_headers",
    [LB_H2_BODY] = "data",
    [LB_H2_BODY_ENDS] = "end_data",
    [LB_H2_RESET] = "reset",
    [LB_H2_GOING_AWAY] = "goaway",
    [LB_H2_WINDOW] = "window",
    [LB_H2_CHEAP] = "cheap",
    [LB_H2_STREAM_FAULT] = "stream_fault",
    [LB_H2_FAULT] = "fault",
};

static void print_event(const struct lb_h2_event *event)
{
    printf(" %s:%u:%u:%u:%u:%u:", kinds[event->kind], event->stream, event->number, event->value, event->charge,
           event->end_stream);
    print_hex(event->bytes, event->count);
}

static void read_frames(int is_server, uint32_t cut, const char *hex)
{
    struct bytes bytes = unhex(hex);
    struct lb_h2_frame_reader frames;
    lb_h2_frame_reader_open(&frames, is_server);
    for (uint32_t at = 0; at < bytes.count;) {
        uint32_t here = cut && cut < bytes.count - at ? cut : bytes.count - at, used = 0;
        uint8_t *copy = copy_of(bytes.at + at, here);
        for (uint32_t done = 0;; done += used) {
            struct lb_h2_event event = lb_h2_frame_read(&frames, copy + done, here - done, &used);
            CHECK(used <= here - done);
            if (event.kind == LB_H2_MORE) {
                CHECK(done + used == here);
                break;
            }
            print_event(&event);
        }
        free(copy);
        at += here;
    }
    putchar('\n');
    free(bytes.at);
}

/* --- commands ------------------------------------------------------------------------------------------------------- */

static void renew(void)
{
    lb_hpack_reader_close(&reader);
    lb_hpack_writer_close(&writer);
    for (int size = 0; size < LB_HPACK_BLOCK_SIZES; size++)
        CHECK(memory.blocks[size].used == 0);
    puts("ok");
}

static void obey(char *line)
{
    static char hex[3 * ROOM];
    unsigned a = 0, b = 0;
    int at = 0;
    hex[0] = 0;
    if (sscanf(line, "read %u %s", &a, hex) >= 1)
        read_block(a, hex);
    else if (sscanf(line, "write %u %n", &a, &at) >= 1)
        write_block((enum lb_hpack_keeping)a, line + at);
    else if (sscanf(line, "request %u %n", &a, &at) >= 1)
        compose_request((int)a, line + at);
    else if (sscanf(line, "peer %u", &a) == 1)
        lb_hpack_writer_resize(&writer, a), puts("ok");
    else if (sscanf(line, "frames %u %u %s", &a, &b, hex) >= 2)
        read_frames((int)a, b, hex);
    else if (sscanf(line, "block %u %s", &a, hex) >= 1)
        frame_block(a, hex);
    else
        renew();
    fflush(stdout);
}

int main(void)
{
    CHECK(lb_hpack_memory_open(&memory, 4) == 0);
    lb_hpack_reader_open(&reader, &memory);
    lb_hpack_writer_open(&writer, &memory);
    while (fgets(text, sizeof text, stdin))
        obey(text);
    lb_hpack_reader_close(&reader);
    lb_hpack_writer_close(&writer);
    lb_hpack_memory_close(&memory);
    return 0;
}
