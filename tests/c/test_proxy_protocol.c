#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "check.h"
#include "edge.h"
#include "l4/proxy_protocol.h"
#include "proxy_headers.h"

static enum lb_proxy_fate read_edged(struct lb_proxy_told *told, const void *bytes, uint32_t count)
{
    static const struct lb_proxy_told nothing;
    struct edge edge;
    uint8_t *copy = copied_to_the_edge(&edge, bytes, count);
    memset(told, 0xa5, sizeof *told);
    enum lb_proxy_fate fate = lb_proxy_read(told, copy, count);
    if (fate != LB_PROXY_DONE)
        CHECK(memcmp(told, &nothing, sizeof nothing) == 0);
    leave_the_edge(&edge);
    return fate;
}

/* --- reading -------------------------------------------------------------------------------------------------------- */

static void check_end(const struct sockaddr_storage *end, const char *ip, uint16_t port)
{
    char text[INET6_ADDRSTRLEN] = "";
    struct sockaddr_in6 v6;
    struct sockaddr_in v4;
    memcpy(&v4, end, sizeof v4);
    memcpy(&v6, end, sizeof v6);
    if (!ip) {
        CHECK(end->ss_family == AF_UNSPEC);
        return;
    }
    CHECK(end->ss_family == (strchr(ip, ':') ? AF_INET6 : AF_INET));
    CHECK(inet_ntop(end->ss_family, end->ss_family == AF_INET ? (void *)&v4.sin_addr : (void *)&v6.sin6_addr, text, sizeof text));
    CHECK(strcmp(text, ip) == 0);
    CHECK(ntohs(end->ss_family == AF_INET ? v4.sin_port : v6.sin6_port) == port);
}

static void check_span(const char *data, uint32_t at, uint32_t length, const char *expected)
{
    CHECK(length == (expected ? strlen(expected) : 0));
    CHECK(!expected || memcmp(data + at, expected, length) == 0);
}

static void check_told(const struct lb_proxy_told *told, const struct vector *vector)
{
    check_end(&told->from, vector->from, vector->from_port);
    check_end(&told->to, vector->to, vector->to_port);
    CHECK(told->bytes == vector->count);
    CHECK(told->tls == vector->tls);
    check_span(vector->bytes, told->authority_at, told->authority_length, vector->authority);
    check_span(vector->bytes, told->alpn_at, told->alpn_length, vector->alpn);
}

static void good_ones_at_every_split_point(void)
{
    struct lb_proxy_told told;
    for (unsigned i = 0; i < GOOD; i++) {
        const struct vector *vector = &good[i];
        for (uint32_t count = 0; count < vector->count; count++)
            if (read_edged(&told, vector->bytes, count) != LB_PROXY_MORE) {
                fprintf(stderr, "%s: of %u bytes\n", vector->name, count);
                exit(1);
            }
        CHECK(read_edged(&told, vector->bytes, vector->count) == LB_PROXY_DONE);
        check_told(&told, vector);
    }
}

/* What follows is the connection's, whatever it is. */
static void good_ones_with_more_behind(void)
{
    struct lb_proxy_told told;
    static const char *const behind[] = {"GET", "\r\n", "\n", " ", "PROXY TCP4 "};
    for (unsigned i = 0; i < GOOD; i++)
        for (unsigned b = 0; b < sizeof behind / sizeof *behind; b++) {
            char data[512];
            size_t more = strlen(behind[b]);
            memcpy(data, good[i].bytes, good[i].count);
            memcpy(data + good[i].count, behind[b], more);
            CHECK(read_edged(&told, data, good[i].count + (uint32_t)more) == LB_PROXY_DONE);
            check_told(&told, &good[i]);
        }
}

static void bad_ones_as_early_as_they_tell(void)
{
    struct lb_proxy_told told;
    for (unsigned i = 0; i < sizeof bad / sizeof *bad; i++)
        for (uint32_t count = 0; count <= bad[i].count; count++)
            if (read_edged(&told, bad[i].bytes, count) != (count < bad[i].at ? LB_PROXY_MORE : LB_PROXY_BAD)) {
                fprintf(stderr, "%s: of %u bytes\n", bad[i].name, count);
                exit(1);
            }
}

/* Whatever byte stands wherever: a fate, never a read too far, and nothing told that is not there. */
static void every_byte_everywhere(void)
{
    static const uint8_t dirt[] = {0, 1, 2, 3, 4, 5, '\n', '\r', ' ', '.', ':', '0', '9', 'a', 0x20, 0x21, 0x31, 0x7f, 0xff};
    struct lb_proxy_told told;
    for (unsigned i = 0; i < GOOD; i++)
        for (uint32_t at = 0; at < good[i].count; at++)
            for (size_t d = 0; d < sizeof dirt; d++) {
                uint8_t data[512];
                memcpy(data, good[i].bytes, good[i].count);
                data[at] = dirt[d];
                if (read_edged(&told, data, good[i].count) != LB_PROXY_DONE)
                    continue;
                CHECK(told.bytes <= good[i].count);
                CHECK(told.authority_at + told.authority_length <= told.bytes);
                CHECK(told.alpn_at + told.alpn_length <= told.bytes);
            }
}

static void the_longest_of_v2(void)
{
    static uint8_t data[LB_PROXY_MOST];
    struct lb_proxy_told told;
    memcpy(data, SIGNATURE "\x21\x11\x0f\xf0" V4_ENDS, 28);
    memcpy(data + 28, "\x02\x0f\xe1", 3);
    CHECK(read_edged(&told, data, sizeof data - 1) == LB_PROXY_MORE);
    CHECK(read_edged(&told, data, sizeof data) == LB_PROXY_DONE);
    CHECK(told.bytes == LB_PROXY_MOST && told.authority_at == 31 && told.authority_length == LB_PROXY_MOST - 31);
}

static void a_unique_id_has_at_most_128_bytes(void)
{
    uint8_t data[16 + 3 + 129] = SIGNATURE "\x21\0\0\x83\x05\0\x80";
    struct lb_proxy_told told;
    CHECK(read_edged(&told, data, 16 + 3 + 128) == LB_PROXY_DONE);
    data[15]++;
    data[18]++;
    CHECK(read_edged(&told, data, sizeof data) == LB_PROXY_BAD);
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

static struct sockaddr_storage end_of(const char *ip, uint16_t port)
{
    struct sockaddr_storage end = {0};
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_scope_id = 7, .sin6_flowinfo = 7};
    if (ip && strchr(ip, ':')) {
        CHECK(inet_pton(AF_INET6, ip, &v6.sin6_addr) == 1);
        memcpy(&end, &v6, sizeof v6);
    } else if (ip) {
        CHECK(inet_pton(AF_INET, ip, &v4.sin_addr) == 1);
        memcpy(&end, &v4, sizeof v4);
    }
    return end;
}

static const struct lb_proxy_extra everything = {.authority = "a.example",
                                                 .authority_length = 9,
                                                 .alpn = "h2",
                                                 .alpn_length = 2,
                                                 .tls = 1,
                                                 .verify = 1,
                                                 .tls_version = "TLSv1.3",
                                                 .crc = 1};

/* Writes it both ways at the edge of the room, and compares with the line and the bytes of version 2. */
static void written(const char *from, const char *to, const char *line, const char *binary, uint32_t count)
{
    struct sockaddr_storage source = end_of(from, 56324), target = end_of(to, 443);
    struct edge edge;
    uint8_t *out = at_the_edge(&edge, LB_PROXY_LINE + 1);
    uint32_t length = lb_proxy_write_v1((char *)out, &source, &target);
    CHECK(length == strlen(line) && memcmp(out, line, length + 1) == 0);
    leave_the_edge(&edge);
    out = at_the_edge(&edge, count);
    CHECK(lb_proxy_write_v2(out, count, &source, &target, NULL) == count);
    CHECK(memcmp(out, binary, count) == 0);
    leave_the_edge(&edge);
}

static void lines_and_blocks(void)
{
    written("192.0.2.1", "198.51.100.2", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
            OF(SIGNATURE "\x21\x11\0\x0c" V4_ENDS));
    written("2001:db8::1", "2001:db8::2", "PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n",
            OF(SIGNATURE "\x21\x21\0\x24" V6_ENDS));
    written("::ffff:192.0.2.1", "::ffff:198.51.100.2", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
            OF(SIGNATURE "\x21\x11\0\x0c" V4_ENDS));
    written("::ffff:192.0.2.1", "198.51.100.2", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n",
            OF(SIGNATURE "\x21\x11\0\x0c" V4_ENDS));
    written("192.0.2.1", "2001:db8::2", "PROXY UNKNOWN\r\n", OF(SIGNATURE "\x20\0\0\0"));
    written("2001:db8::1", "198.51.100.2", "PROXY UNKNOWN\r\n", OF(SIGNATURE "\x20\0\0\0"));
    written("2001:db8::1", NULL, "PROXY UNKNOWN\r\n", OF(SIGNATURE "\x20\0\0\0"));
    written(NULL, NULL, "PROXY UNKNOWN\r\n", OF(SIGNATURE "\x20\0\0\0"));
}

static void the_longest_line(void)
{
    const char *ip = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    struct sockaddr_storage end = end_of(ip, 65535);
    char out[LB_PROXY_LINE + 1];
    CHECK(lb_proxy_write_v1(out, &end, &end) == 104);
    CHECK(strcmp(out + 90, " 65535 65535\r\n") == 0);
}

static void all_that_v2_can_say(void)
{
    const struct vector *vector = NULL;
    uint8_t out[128];
    struct sockaddr_storage source = end_of("2001:db8::1", 56324), target = end_of("2001:db8::2", 443);
    for (unsigned i = 0; i < GOOD; i++)
        if (strcmp(good[i].name, "v2_with_all") == 0)
            vector = &good[i];
    CHECK(vector && lb_proxy_write_v2(out, sizeof out, &source, &target, &everything) == vector->count);
    CHECK(memcmp(out, vector->bytes, vector->count) == 0);
}

static void a_common_name_and_its_bits(void)
{
    uint8_t out[128];
    struct sockaddr_storage source = end_of("192.0.2.1", 56324), target = end_of("198.51.100.2", 443), none = {0};
    struct lb_proxy_extra extra = {.tls = 1, .common_name = "cn"};
    static const char expected[] = SIGNATURE "\x21\x11\0\x19" V4_ENDS "\x20\0\x0a\x05\0\0\0\0\x22\0\x02"
                                             "cn";
    CHECK(lb_proxy_write_v2(out, sizeof out, &source, &target, &extra) == sizeof expected - 1);
    CHECK(memcmp(out, expected, sizeof expected - 1) == 0);
    CHECK(lb_proxy_write_v2(out, sizeof out, &source, &none, &extra) == 16); /* without both ends, nothing is said */
    extra.tls = 0;
    CHECK(lb_proxy_write_v2(out, sizeof out, &source, &target, &extra) == 28);
}

static void every_room_too_small(void)
{
    struct sockaddr_storage source = end_of("2001:db8::1", 56324), target = end_of("2001:db8::2", 443);
    for (uint32_t room = 0; room <= 94; room++) {
        struct edge edge;
        uint8_t *out = at_the_edge(&edge, room);
        CHECK(lb_proxy_write_v2(out, room, &source, &target, &everything) == (room < 94 ? 0 : 94));
        leave_the_edge(&edge);
    }
}

static void nothing_is_written_that_we_would_not_read(void)
{
    static uint8_t out[2 * LB_PROXY_MOST];
    static char text[2 * LB_PROXY_MOST];
    static const uint32_t large[] = {LB_PROXY_MOST, 65535, 65536, UINT32_MAX - 3, UINT32_MAX};
    struct sockaddr_storage source = end_of("192.0.2.1", 1), target = end_of("192.0.2.2", 2);
    struct lb_proxy_extra extra = {.authority = text};
    struct lb_proxy_told told;
    memset(text, 'x', sizeof text - 1);
    for (extra.authority_length = LB_PROXY_MOST - 40; extra.authority_length < LB_PROXY_MOST; extra.authority_length++) {
        uint32_t count = lb_proxy_write_v2(out, sizeof out, &source, &target, &extra);
        CHECK(count == (extra.authority_length <= LB_PROXY_MOST - 31 ? 31 + extra.authority_length : 0));
        CHECK(!count || lb_proxy_read(&told, out, count) == LB_PROXY_DONE);
    }
    for (unsigned i = 0; i < sizeof large / sizeof *large; i++) {
        extra.authority_length = large[i];
        CHECK(lb_proxy_write_v2(out, sizeof out, &source, &target, &extra) == 0);
    }
    extra = (struct lb_proxy_extra){.tls = 1, .common_name = text};
    CHECK(lb_proxy_write_v2(out, sizeof out, &source, &target, &extra) == 0);
}

int main(void)
{
    RUN(good_ones_at_every_split_point);
    RUN(good_ones_with_more_behind);
    RUN(bad_ones_as_early_as_they_tell);
    RUN(every_byte_everywhere);
    RUN(the_longest_of_v2);
    RUN(a_unique_id_has_at_most_128_bytes);
    RUN(lines_and_blocks);
    RUN(the_longest_line);
    RUN(all_that_v2_can_say);
    RUN(a_common_name_and_its_bits);
    RUN(every_room_too_small);
    RUN(nothing_is_written_that_we_would_not_read);
    return 0;
}
