/* libFuzzer's target for everything that reads what peers send: requests, answers, chunked bodies, paths. Beside finding reads
 * too far (AddressSanitizer), it checks what must hold of any reading. */
#include <stdlib.h>
#include <string.h>

#include "l7/chunked.h"
#include "l7/h1/encode.h"
#include "l7/message.h"
#include "l7/path.h"
#include "l7/query.h"
#include "l7/route.h"

static struct lb_message message, again;
static char out[28672 + LB_ENCODE_ROOM + 65536];

static void demand(int condition)
{
    if (!condition)
        abort();
}

/* Spans lie within the head, and the head within the bytes. */
static void check_head(const struct lb_message_head *head, uint32_t count)
{
    demand(head->bytes <= count && head->field_count <= LB_FIELD_ROOM);
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct lb_field *field = &head->fields[i];
        demand(field->line.at + field->line.length <= head->bytes);
        demand(field->name.at >= field->line.at && field->value.at + field->value.length <= field->line.at + field->line.length);
    }
}

/* Is there a valid traceparent? What we make of one we read the same. */
static int reads_trace(struct lb_trace *trace, const char *bytes)
{
    struct lb_trace found, back;
    char text[LB_TRACE_BYTES];
    for (uint32_t i = 0; i < message.head.field_count; i++) {
        const struct lb_field *field = &message.head.fields[i];
        if (field->known != LB_TRACEPARENT || !lb_trace_read(&found, bytes + field->value.at, field->value.length))
            continue;
        demand(lb_trace_write(text, &found) == text + LB_TRACE_BYTES && lb_trace_read(&back, text, LB_TRACE_BYTES));
        demand(back.id[0] == found.id[0] && back.id[1] == found.id[1] && back.span == found.span);
        *trace = found;
        return 1;
    }
    return 0;
}

/* What we send on, we would take ourselves: no request goes out that another reader could split elsewhere. */
static void check_forwarded(const char *bytes)
{
    static struct lb_listener_row listener = {.forwarded = LB_FORWARDED_BOTH, .request_id = 1};
    const struct lb_head_limits wide = {LB_ENCODE_ROOM + 28672, 28672, LB_FIELD_ROOM};
    struct lb_trace trace = {{1, 2}, 3, 1};
    static const uint8_t peer[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 1};
    struct lb_forward forward = {.listener = &listener, .peer = peer, .trusted = 1, .backend = "b:1", .trace = &trace};
    forward.trace_begins = !reads_trace(&trace, bytes);
    if (message.authority.length > LB_AUTHORITY_BYTES || message.head.field_count > LB_FIELD_ROOM - 16)
        return;
    uint32_t count = (uint32_t)lb_encode_request(out, &message, bytes, &forward);
    demand(count <= message.head.bytes + LB_ENCODE_ROOM);
    demand(lb_message_request(&again, out, count, &wide) == LB_READ_DONE);
    demand(again.head.bytes == count && again.framing == message.framing && again.length == message.length);
}

static const char names[] = "\6cookie\4host\3x-a", lines[] = "Host: inner\r\nX-A: \1\r\n";
static const struct lb_edited_head edits = {.lengths = 1 << 6 | 1 << 4 | 1 << 3,
                                            .names = names,
                                            .names_end = names + sizeof names - 1,
                                            .lines = lines,
                                            .lines_end = lines + sizeof lines - 1,
                                            .own = LB_OWN_HOST | LB_OWN_VIA,
                                            .backends = 1};

/* Nothing of those names is left but what was added. */
static void check_edited_head(const char *bytes)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < again.head.field_count; i++)
        if (lb_edited_drops(&edits, bytes + again.head.fields[i].name.at, again.head.fields[i].name.length))
            found++;
    demand(found == 2);
}

/* Likewise with edits, of a head as it goes out and of one that is written already. */
static void check_edited(const char *bytes)
{
    static struct lb_listener_row listener = {.forwarded = LB_FORWARDED_BOTH, .request_id = 1};
    static char copy[sizeof out];
    const struct lb_head_limits wide = {LB_ENCODE_ROOM + 28672, 28672, LB_FIELD_ROOM};
    static const uint8_t peer[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [13] = 0, [14] = 2, [15] = 1};
    const struct lb_edited edited = {.request = edits, .path = "/p", .path_length = 2, .prefix = "/a", .prefix_length = 2};
    struct lb_forward forward = {.listener = &listener, .peer = peer, .backend = "b:1", .edited = &edited};
    if (message.authority.length > LB_AUTHORITY_BYTES || message.head.field_count > LB_FIELD_ROOM - 16)
        return;
    uint32_t count = (uint32_t)lb_encode_request(out, &message, bytes, &forward);
    demand(lb_message_request(&again, out, count, &wide) == LB_READ_DONE);
    demand(again.head.bytes == count && again.framing == message.framing && again.length == message.length);
    check_edited_head(out);
    memcpy(copy, bytes, message.head.bytes);
    count = (uint32_t)lb_edited_apply(&edits, copy, message.head.bytes, "b:1");
    demand(lb_head_request(&again.head, copy, count, &wide) == LB_READ_DONE && again.head.bytes == count);
    check_edited_head(copy);
}

static void fuzz_request(const char *bytes, uint32_t count)
{
    const struct lb_head_limits limits = {16384, 8192, 100};
    if (lb_message_request(&message, bytes, count, &limits) != LB_READ_DONE)
        return;
    check_head(&message.head, count);
    for (uint32_t cut = 0; cut < message.head.bytes && cut < 64; cut++)
        demand(lb_message_request(&again, bytes, cut, &limits) == LB_READ_PARTIAL);
    check_forwarded(bytes);
    check_edited(bytes);
    (void)lb_cookie_find(&message, bytes, "a", 1);
}

static void fuzz_answer(const char *bytes, uint32_t count)
{
    const struct lb_head_limits limits = {28672, 28672, LB_FIELD_ROOM};
    struct lb_response_edits edits = {.client_minor = 1, .persistent = 1, .date = "now"};
    if (lb_message_response(&message, bytes, count, &limits, LB_GET) != LB_READ_DONE)
        return;
    check_head(&message.head, count);
    edits.chunked = message.framing == LB_BODY_CHUNKED;
    uint32_t length = (uint32_t)lb_encode_response(out, &message, bytes, &edits);
    const struct lb_head_limits wide = {LB_ENCODE_ROOM + 28672, 28672, LB_FIELD_ROOM};
    if (message.head.field_count < LB_FIELD_ROOM - 8 && message.head.status >= 200) {
        demand(lb_message_response(&again, out, length, &wide, LB_GET) == LB_READ_DONE);
        demand(again.head.bytes == length && again.framing == message.framing);
        demand(again.length == (message.head.status == 204 ? 0 : message.length)); /* of 204 none is passed on */
    }
}

enum { CHUNKED_MOST = 20000 };

/* What goes on of a body that comes in two pieces: how much, and how the reading ends. */
static enum lb_chunking rewritten(const char *bytes, uint32_t count, uint32_t cut, uint8_t rules, char *to, uint32_t *length,
                                  uint32_t *used)
{
    static char room[2][LB_CHUNK_ROOM + CHUNKED_MOST];
    struct lb_chunked chunked = {.rules = rules};
    struct lb_chunk_piece piece;
    enum lb_chunking chunking = LB_CHUNKS_MORE;
    *length = *used = 0;
    for (int i = 0; i < 2 && chunking == LB_CHUNKS_MORE; i++) {
        char *start = room[i] + (i ? LB_CHUNK_ROOM : 0);
        uint32_t here = i ? count - cut : cut;
        memcpy(start, bytes + (i ? cut : 0), here);
        chunking = lb_chunked_read(&chunked, start, here, &piece);
        demand(piece.used <= here && piece.out_count <= here + LB_CHUNK_ROOM);
        demand(piece.out >= room[i] && piece.out + piece.out_count <= start + here);
        memcpy(to + *length, piece.out, piece.out_count);
        *length += piece.out_count;
        *used += piece.used;
    }
    return chunking;
}

/* In one piece and in two, it reads the same. What goes on is never longer than what came, and the strictest reading takes it as it
 * stands. */
static void fuzz_chunked(const char *bytes, uint32_t count, uint32_t cut, uint8_t rules)
{
    static char one[CHUNKED_MOST + LB_CHUNK_ROOM], two[CHUNKED_MOST + LB_CHUNK_ROOM], three[CHUNKED_MOST + LB_CHUNK_ROOM];
    uint32_t length, used, length2, used2;
    enum lb_chunking whole = rewritten(bytes, count, count, rules, one, &length, &used);
    enum lb_chunking parts = rewritten(bytes, count, cut, rules, two, &length2, &used2);
    demand(whole == parts && used == used2);
    if (whole == LB_CHUNKS_BAD)
        return;
    demand(length == length2 && length <= count && memcmp(one, two, length) == 0);
    if (whole != LB_CHUNKS_DONE || rules & LB_CHUNKS_BARE)
        return;
    uint8_t strict = LB_CHUNKS_TRAILERS;
    demand(rewritten(one, length, length, strict, three, &length2, &used2) == LB_CHUNKS_DONE);
    demand(length2 == length && used2 == length && memcmp(one, three, length) == 0);
}

static void fuzz_path(const char *bytes, uint32_t count)
{
    for (int reading = 0; reading < 16; reading++) {
        int64_t length = lb_path_normal(bytes, count, (enum lb_path_reading)reading, out);
        demand(length <= (int64_t)count);
        if (length < 0)
            continue;
        demand(strstr(out, "/../") == NULL);
    }
}

/* A parameter's name, its value and a query, apart by lines: what says a value has the name. */
static void fuzz_query(const char *bytes, uint32_t count, unsigned reading)
{
    const char *first = memchr(bytes, '\n', count);
    const char *second = first ? memchr(first + 1, '\n', count - (size_t)(first + 1 - bytes)) : NULL;
    if (!second)
        return;
    struct lb_parameter wanted = {bytes, (uint32_t)(first - bytes), (uint32_t)(second - first - 1), first + 1};
    uint32_t length = count - (uint32_t)(second + 1 - bytes);
    int repeated = 0;
    int says = lb_query_says(second + 1, length, &wanted, reading, &repeated);
    wanted.value = NULL;
    demand(!says || lb_query_says(second + 1, length, &wanted, reading, &repeated));
    demand(lb_query_readings(second + 1, length) < LB_QUERY_LAST);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > CHUNKED_MOST)
        return 0;
    const char *bytes = (const char *)data + 2;
    uint32_t count = (uint32_t)size - 2;
    switch (data[0] & 3) {
    case 0:
        fuzz_request(bytes, count);
        break;
    case 1:
        fuzz_answer(bytes, count);
        break;
    case 2:
        fuzz_chunked(bytes, count, count ? data[1] % count : 0, data[0] >> 2 & 7);
        break;
    default:
        if (count && bytes[0] == '/' && count < 8192 && !memchr(bytes, 0, count))
            fuzz_path(bytes, count);
        else
            fuzz_query(bytes, count, data[0] >> 2 & 7);
    }
    return 0;
}
