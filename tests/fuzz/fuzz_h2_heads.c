/* libFuzzer's target for heads that come by HTTP/2: a header block, read field by field, is written as a head of HTTP/1.1, which one reader
 * judges for all. It checks that no field becomes two lines and no head two, and that what is written has the room that was foreseen. */
#include <stdlib.h>
#include <string.h>

#include "h2/hpack_read.h"
#include "l7/grpc_web.h"
#include "l7/h2/request.h"
#include "l7/h2/response.h"
#include "l7/message.h"

enum { ROOM = 32768, SHORT = 2048 };

static struct lb_hpack_memory memory;
static struct lb_message message;
static const struct lb_head_limits wide = {1 << 20, 1 << 20, LB_FIELD_ROOM};

static void demand(int condition)
{
    if (!condition)
        abort();
}

/* A head ends with its only empty line, each line with CRLF, and there are no more lines than these. */
static void check_lines(const char *head, uint32_t count, uint32_t most)
{
    uint32_t lines = 0;
    demand(count >= 4 && memcmp(head + count - 4, "\r\n\r\n", 4) == 0);
    for (uint32_t i = 0; i < count; i++) {
        demand(head[i] != 0 && (head[i] != '\n' || (i && head[i - 1] == '\r')));
        demand(head[i] != '\r' || (i + 1 < count && head[i + 1] == '\n'));
        lines += head[i] == '\n';
        demand(i + 4 >= count || memcmp(head + i, "\r\n\r\n", 4) != 0);
    }
    demand(lines <= most + 2);
}

struct block {
    struct lb_hpack_reader reader;
    const uint8_t *at;
    const uint8_t *end;
};

/* The next field, into a line at `to`: 1, or 0, there is no further one. */
static int next_field(struct block *block, char *to, uint32_t room, struct lb_hpack_field *field)
{
    while (block->at < block->end && room >= LB_HPACK_LINE_ROOM) {
        uint32_t used = 0;
        enum lb_hpack_result result =
            lb_hpack_read(&block->reader, block->at, (uint32_t)(block->end - block->at), &used, to, room, field);
        if (result == LB_HPACK_PARTIAL || result == LB_HPACK_BAD || result == LB_HPACK_NO_MEMORY)
            return 0;
        block->at += used;
        if (result == LB_HPACK_FIELD)
            return 1;
    }
    return 0;
}

static void fuzz_request(struct block *block, int end_stream)
{
    static const char key[] = "AAAAAAAAAAAAAAAAAAAAAA==";
    static char base[ROOM];
    struct lb_h2_request request = {0};
    struct lb_hpack_field field;
    while (next_field(block, base + request.end, ROOM - request.end, &field)) {
        lb_h2_request_field(&request, base, &field);
        demand(request.end <= ROOM && request.lines <= request.end);
    }
    if (request.malformed || lb_h2_request_is_malformed(&request, base) || request.ambiguous)
        return;
    uint32_t most = lb_h2_request_most(&request, end_stream);
    char *out = malloc(most);
    demand(out != NULL);
    uint32_t count = lb_h2_request_compose(out, &request, base, end_stream, key);
    demand(count <= most);
    check_lines(out, count, request.fields + 5);
    if (lb_message_request(&message, out, count, &wide) == LB_READ_DONE)
        demand(message.head.bytes == count);
    free(out);
}

static void check_response(char *base, struct lb_h2_response *response, uint32_t fields, int chunked)
{
    uint32_t count;
    enum lb_h2_response_body body = response->has_length ? LB_H2_RESPONSE_AS_IT_SAYS
                                  : chunked              ? LB_H2_RESPONSE_CHUNKED
                                                         : LB_H2_RESPONSE_EMPTY;
    char *head = lb_h2_response_compose(base, response, body, &count);
    demand(head >= base && head + count <= base + response->end + 2);
    check_lines(head, count, fields + 2);
    if (lb_message_response(&message, head, count, &wide, LB_GET) == LB_READ_DONE)
        demand(message.head.bytes == count && message.head.status == response->status);
}

static void fuzz_response(struct block *block, int chunked, unsigned web)
{
    char *base = malloc(ROOM + 2);
    struct lb_h2_response response = {.end = LB_H2_RESPONSE_PREFIX};
    struct lb_hpack_field field;
    uint32_t fields = 0;
    demand(base != NULL);
    while (next_field(block, base + response.end, ROOM - response.end, &field)) {
        lb_h2_response_field(&response, base, &field);
        demand(response.end <= ROOM);
        fields++;
    }
    if (!response.malformed && response.status) {
        uint32_t room = response.end + 2 < SHORT ? SHORT : response.end + 2;
        if (!web || lb_h2_response_translate(base, &response, room, web) >= 0)
            check_response(base, &response, fields + 4, chunked);
    }
    free(base);
}

/* Lines of trailers frame nothing and name no pseudo-header. */
static void fuzz_trailers(struct block *block)
{
    static char line[ROOM];
    struct lb_hpack_field field;
    while (next_field(block, line, ROOM, &field)) {
        if (!lb_h2_is_trailer(&field))
            continue;
        demand(field.name_length && field.name[0] != ':' && !memchr(field.name, '\n', field.name_length));
        demand(!memchr(field.value, '\n', field.value_length) && !memchr(field.value, '\r', field.value_length));
        demand(field.name_length != 14 || memcmp(field.name, "content-length", 14) != 0);
        demand(field.name_length != 17 || memcmp(field.name, "transfer-encoding", 17) != 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    if (!memory.blocks[0].memory)
        demand(lb_hpack_memory_open(&memory, 8) == 0);
    struct block block = {.at = data + 1, .end = data + size};
    lb_hpack_reader_open(&block.reader, &memory);
    lb_hpack_block_begin(&block.reader);
    switch (data[0] & 3) {
    case 0:
        fuzz_request(&block, data[0] >> 2 & 1);
        break;
    case 1:
        fuzz_response(&block, data[0] >> 2 & 1, 0);
        break;
    case 2:
        fuzz_response(&block, data[0] >> 2 & 1, data[0] >> 3);
        break;
    default:
        fuzz_trailers(&block);
        break;
    }
    lb_hpack_reader_close(&block.reader);
    return 0;
}
