#include <string.h>

#include "check.h"
#include "edge.h"
#include "core/siphash.h"
#include "l7/chunked.h"
#include "l7/h1/encode.h"
#include "l7/message.h"
#include "l7/path.h"
#include "l7/query.h"

static const struct lb_head_limits limits = {16384, 8192, 100};

static const char request[] = "\r\nPOST http://a.example:80/x%2F../y?q=1 HTTP/1.1\r\nHost: [2001:db8::1]:8080\r\n"
                              "Connection: keep-alive, X-A,,x-b , upgrade\r\nX-A: 1\r\nTransfer-Encoding: chunked\r\n"
                              "Expect: 100-continue\r\nUpgrade: websocket\r\nCookie: a=b; c=%00\r\nX-Empty:\r\n\r\n";

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close, X-Q\r\nX-Q: z\r\n\r\n";

static enum lb_reading read_edged(const char *bytes, uint32_t count, int is_answer)
{
    static struct lb_message message;
    struct edge edge;
    char *copy = (char *)copied_to_the_edge(&edge, bytes, count);
    enum lb_reading reading = is_answer ? lb_message_response(&message, copy, count, &limits, LB_GET)
                                        : lb_message_request(&message, copy, count, &limits);
    leave_the_edge(&edge);
    return reading;
}

static void every_split_point(const char *bytes, size_t count, int is_answer)
{
    for (uint32_t i = 0; i < count; i++)
        CHECK(read_edged(bytes, i, is_answer) == LB_READ_PARTIAL);
    CHECK(read_edged(bytes, (uint32_t)count, is_answer) == LB_READ_DONE);
}

/* Whatever byte stands wherever: a reading, never a read too far. */
static void every_byte_everywhere(const char *bytes, size_t count, int is_answer)
{
    static const char dirt[] = {0, '\n', '\r', ' ', '\t', ':', ',', 'x', '\x7f', '\xff', '%', '[', '0'};
    char copy[512];
    for (uint32_t i = 0; i < count; i++)
        for (size_t d = 0; d < sizeof dirt; d++) {
            memcpy(copy, bytes, count);
            copy[i] = dirt[d];
            enum lb_reading reading = read_edged(copy, (uint32_t)count, is_answer);
            CHECK(reading == LB_READ_DONE || reading == LB_READ_PARTIAL || reading >= 400);
        }
}

/* The sets as the RFCs spell them out, apart from the table. */
static int is_token(int c)
{
    return c && (memchr("!#$%&'*+-.^_`|~", c, 15) || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z'));
}

static int is_value(int c)
{
    return c == '\t' || (c >= ' ' && c != 0x7f);
}

static int is_target(int c)
{
    return c > ' ' && c < 0x7f && c != '#';
}

/* Eight bytes are looked at in one: whatever stands beside each other, and wherever in the eight, ends what it ends byte by byte. */
static void runs_end_where_their_bytes_say(void)
{
    static struct lb_message_head head;
    char text[128];
    for (int at = 1; at <= 9; at++)
        for (int c = 0; c < 256; c++)
            for (int d = 0; d < 256; d++) {
                int n = sprintf(text, "GET / HTTP/1.1\r\nX:%.*s??zzzzzzzz\r\n\r\n", at, "aaaaaaaaa");
                text[18 + at] = (char)c, text[19 + at] = (char)d;
                int good = is_value(c) && is_value(d);
                CHECK(lb_head_request(&head, text, (uint32_t)n, &limits) == (good ? LB_READ_DONE : LB_READ_BAD));
                CHECK(!good || head.fields[0].value.length == (uint32_t)at + 10);

                n = sprintf(text, "GET / HTTP/1.1\r\n%.*s??zzzzzzzz:\r\n\r\n", at, "aaaaaaaaa");
                text[16 + at] = (char)c, text[17 + at] = (char)d;
                int length = at + (!is_token(c) ? 0 : !is_token(d) ? 1 : 10);
                good = length == at ? c == ':' && is_value(d) : length == at + 1 ? d == ':' : 1;
                CHECK(lb_head_request(&head, text, (uint32_t)n, &limits) == (good ? LB_READ_DONE : LB_READ_BAD));
                CHECK(!good || head.fields[0].name.length == (uint32_t)length);

                n = sprintf(text, "GET /%.*s??zzzzzzzz HTTP/1.1\r\n\r\n", at, "aaaaaaaaa");
                text[5 + at] = (char)c, text[6 + at] = (char)d;
                good = is_target(c) && is_target(d);
                CHECK(lb_head_request(&head, text, (uint32_t)n, &limits) == (good ? LB_READ_DONE : LB_READ_BAD));
                CHECK(!good || head.target.length == (uint32_t)at + 11);
            }
}

static void waiting_heads_are_not_read_again(void)
{
    CHECK(lb_head_waits("GET / HTTP", 3, 10, &limits));
    CHECK(!lb_head_waits("GET /\n", 3, 6, &limits));
    CHECK(lb_head_waits("GET /\nxx", 6, 8, &limits));
    struct lb_head_limits tight = {8, 8, 8};
    CHECK(!lb_head_waits("GET /aaa", 3, 8, &tight));
}

static void composed_heads_stay_in_their_room(void)
{
    static struct lb_message message;
    static struct lb_listener_row listener = {.forwarded = LB_FORWARDED_BOTH, .request_id = 1};
    char head[16384], out[16384 + LB_ENCODE_ROOM];
    int length = snprintf(head, sizeof head, "GET / HTTP/1.1\r\nHost: %0*d\r\n", LB_AUTHORITY_BYTES, 0);
    while (length < 16000)
        length += snprintf(head + length, sizeof head - (size_t)length, "X-Forwarded-For: 2001:db8::%d\r\n", length);
    length += snprintf(head + length, sizeof head - (size_t)length, "\r\n");
    struct lb_head_limits wide = {28672, 8192, 128};
    enum lb_reading reading = lb_message_request(&message, head, (uint32_t)length, &wide);
    CHECK(reading == LB_READ_HEAD_LARGE); /* more fields than there is room for */
    length = snprintf(head, sizeof head, "GET / HTTP/1.1\r\nHost: %0*d\r\n", LB_AUTHORITY_BYTES, 0);
    for (int i = 0; i < 90; i++)
        length += snprintf(head + length, sizeof head - (size_t)length, "X-Forwarded-For: 2001:db8::%d\r\n", i);
    length += snprintf(head + length, sizeof head - (size_t)length, "\r\n");
    CHECK(lb_message_request(&message, head, (uint32_t)length, &wide) == LB_READ_DONE);
    static const uint8_t peer[16] = {0x20, 0x01, 0x0d, 0xb8, [15] = 1};
    struct lb_forward forward = {.listener = &listener, .peer = peer, .trusted = 1, .backend = "b:1"};
    size_t count = lb_encode_request(out, &message, head, &forward);
    CHECK(count < (size_t)length + LB_ENCODE_ROOM);
    CHECK(count > 4 && memcmp(out + count - 4, "\r\n\r\n", 4) == 0);
}

/* What goes on of a body that comes in two pieces, each of which ends where an unmapped page begins. */
static uint32_t two_pieces(const char *body, uint32_t cut, uint32_t count, uint8_t rules, char *out, enum lb_chunking *chunking)
{
    struct lb_chunked chunked = {.rules = rules};
    uint32_t length = 0, used = 0;
    *chunking = LB_CHUNKS_MORE;
    for (int i = 0; i < 2 && *chunking == LB_CHUNKS_MORE; i++) {
        uint32_t from = i ? cut : 0, here = i ? count - cut : cut;
        char piece[LB_CHUNK_ROOM + 256] = {0};
        struct lb_chunk_piece read;
        struct edge edge;
        memcpy(piece + LB_CHUNK_ROOM, body + from, here);
        char *copy = (char *)copied_to_the_edge(&edge, piece, LB_CHUNK_ROOM + here);
        *chunking = lb_chunked_read(&chunked, copy + LB_CHUNK_ROOM, here, &read);
        CHECK(read.out >= copy + (i ? 0 : LB_CHUNK_ROOM) && read.out + read.out_count <= copy + LB_CHUNK_ROOM + here);
        memcpy(out + length, read.out, read.out_count);
        length += read.out_count;
        used += read.used;
        leave_the_edge(&edge);
    }
    CHECK(*chunking == LB_CHUNKS_BAD || used <= count);
    return length;
}

static void chunks_at_every_split_point(void)
{
    static const char body[] = "005 ; a = \"b\\\"\" ;c\r\nhello\r\n00A;x\r\n0123456789\r\n0;y\r\nX: y\r\n"
                               "A-Name-That-Is-Longer-Than-Those-That-Are-Known: z\r\n\r\n";
    static const char *const framed[] = {
        [0] = "5\r\nhello\r\na\r\n0123456789\r\n0\r\n\r\n",
        [LB_CHUNKS_BARE] = "hello0123456789",
        [LB_CHUNKS_TRAILERS] = "5\r\nhello\r\na\r\n0123456789\r\n0\r\nX: y\r\n"
                               "A-Name-That-Is-Longer-Than-Those-That-Are-Known: z\r\n\r\n",
    };
    char out[512];
    enum lb_chunking chunking;
    for (uint8_t rules = 0; rules < sizeof framed / sizeof *framed; rules++)
        for (uint32_t cut = 0; framed[rules] && cut < sizeof body; cut++) {
            uint32_t length = two_pieces(body, cut, sizeof body - 1, rules, out, &chunking);
            CHECK(chunking == LB_CHUNKS_DONE);
            CHECK(length == strlen(framed[rules]) && memcmp(out, framed[rules], length) == 0);
        }
}

/* Data that comes in its shortest form is not moved. */
static void plain_chunks_stay_where_they_are(void)
{
    static const char body[] = "5\r\nhello\r\n";
    char bytes[LB_CHUNK_ROOM + 16];
    struct lb_chunk_piece piece;
    for (uint32_t cut = 0; cut < sizeof body - 1; cut++) {
        struct lb_chunked chunked = {0};
        memcpy(bytes + LB_CHUNK_ROOM, body, cut);
        CHECK(lb_chunked_read(&chunked, bytes + LB_CHUNK_ROOM, cut, &piece) == LB_CHUNKS_MORE);
        uint32_t gone = piece.out_count;
        memcpy(bytes + LB_CHUNK_ROOM, body + cut, sizeof body - 1 - cut);
        CHECK(lb_chunked_read(&chunked, bytes + LB_CHUNK_ROOM, (uint32_t)sizeof body - 1 - cut, &piece) == LB_CHUNKS_MORE);
        CHECK(piece.out + piece.out_count == bytes + LB_CHUNK_ROOM + sizeof body - 1 - cut);
        CHECK(gone + piece.out_count == sizeof body - 1);
    }
}

static void bytes_of_chunks_everywhere(void)
{
    static const char body[] = "5;a=\"b\"\r\nhello\r\n0\r\nHost : y\r\n\r\n";
    static const char dirt[] = {0, '\n', '\r', ' ', '\t', ':', ';', '"', '\\', 'x', '\x7f', '\xff', '=', '0', 'f'};
    char copy[sizeof body], out[512];
    enum lb_chunking chunking;
    for (uint32_t i = 0; i < sizeof body - 1; i++)
        for (size_t d = 0; d < sizeof dirt; d++)
            for (uint8_t rules = 0; rules < 8; rules++) {
                memcpy(copy, body, sizeof body);
                copy[i] = dirt[d];
                (void)two_pieces(copy, i, sizeof body - 1, rules, out, &chunking);
            }
}

static void paths_at_the_edge(void)
{
    static const char *const paths[] = {"/",       "/%", "/%4",   "/%41", "/a/..", "/a/.",   "/%2e%2e", "/..%2f",
                                        "/\\..\\", "//", "/a%2F", "/%25", "/%254", "/%2541", "/a;",     "/;/..;/%3b"};
    char out[32];
    for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++)
        for (int reading = 0; reading < 16; reading++) {
            struct edge edge;
            uint32_t length = (uint32_t)strlen(paths[i]);
            char *copy = (char *)copied_to_the_edge(&edge, paths[i], length);
            int64_t made = lb_path_normal(copy, length, (enum lb_path_reading)reading, out);
            CHECK(made <= length && (made < 0 || out[made] == 0));
            leave_the_edge(&edge);
        }
}

/* Cut anywhere, a query is read to its end and no further. */
static void queries_at_the_edge(void)
{
    static const char query[] = "?b=%zz&a%3=+&;a=%41%4&a=1;%61=%";
    const struct lb_parameter wanted[] = {{"a", 1, 1, "A"}, {"a", 1, 0, NULL}, {"b", 1, 3, "%zz"}, {"", 0, 0, ""}};
    for (uint32_t length = 0; length < sizeof query; length++)
        for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++)
            for (unsigned reading = 0; reading < 2 * LB_QUERY_LAST; reading++) {
                struct edge edge;
                const char *copy = (const char *)copied_to_the_edge(&edge, query, length);
                int repeated = 0, says = lb_query_says(copy, length, &wanted[i], reading, &repeated);
                if (i == 2)
                    CHECK(says == (length >= 6));
                (void)lb_query_readings(copy, length);
                leave_the_edge(&edge);
            }
}

/* The vectors of the paper's appendix A: key 00..0f, message 00..0e. */
static void siphash_vector(void)
{
    uint8_t key[16], message[15];
    for (uint8_t i = 0; i < 16; i++)
        key[i] = i;
    for (uint8_t i = 0; i < 15; i++)
        message[i] = i;
    CHECK(lb_siphash(key, message, 15) == UINT64_C(0xa129ca6149be45e5));
    CHECK(lb_siphash(key, message, 0) == UINT64_C(0x726fdb47dd0e0e31));
}

int main(void)
{
    every_split_point(request, sizeof request - 1, 0);
    every_split_point(answer, sizeof answer - 1, 1);
    every_byte_everywhere(request, sizeof request - 1, 0);
    every_byte_everywhere(answer, sizeof answer - 1, 1);
    runs_end_where_their_bytes_say();
    waiting_heads_are_not_read_again();
    composed_heads_stay_in_their_room();
    chunks_at_every_split_point();
    plain_chunks_stay_where_they_are();
    bytes_of_chunks_everywhere();
    paths_at_the_edge();
    queries_at_the_edge();
    siphash_vector();
    return 0;
}
