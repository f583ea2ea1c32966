#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "l4/proxy_protocol.h"

/* Memory that ends where an unmapped page begins: one byte too far is a fault. */
struct edge {
    uint8_t *pages;
    size_t bytes;
};

static uint8_t *at_the_edge(struct edge *edge, size_t count)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    edge->bytes = (count / page + 2) * page;
    edge->pages = mmap(NULL, edge->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(edge->pages != MAP_FAILED);
    CHECK(mprotect(edge->pages + edge->bytes - page, page, PROT_NONE) == 0);
    return edge->pages + edge->bytes - page - count;
}

static void leave_the_edge(struct edge *edge)
{
    munmap(edge->pages, edge->bytes);
}

static enum lb_proxy_fate read_edged(struct lb_proxy_told *told, const void *bytes, uint32_t count)
{
    static const struct lb_proxy_told nothing;
    struct edge edge;
    uint8_t *copy = at_the_edge(&edge, count);
    memcpy(copy, bytes, count);
    memset(told, 0xa5, sizeof *told);
    enum lb_proxy_fate fate = lb_proxy_read(told, copy, count);
    if (fate != LB_PROXY_DONE)
        CHECK(memcmp(told, &nothing, sizeof nothing) == 0);
    leave_the_edge(&edge);
    return fate;
}

/* --- vectors, written by hand --------------------------------------------------------------------------------------- */

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4_ENDS "\xc0\0\x02\x01\xc6\x33\x64\x02\xdc\x04\x01\xbb" /* 192.0.2.1:56324 to 198.51.100.2:443 */
#define V6_ENDS \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01" \
    "\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x02" \
    "\xdc\x04\x01\xbb"
#define ZEROES_36 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define ZEROES_216 ZEROES_36 ZEROES_36 ZEROES_36 ZEROES_36 ZEROES_36 ZEROES_36

struct vector {
    const char *name;
    const char *bytes;
    uint32_t count;
    const char *from, *to; /* NULL: none */
    uint16_t from_port, to_port;
    const char *authority, *alpn;
    uint8_t tls;
};

#define OF(text) text, sizeof(text) - 1

static const struct vector good[] = {
    {"the_example_of_the_specification", OF("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"), "192.168.0.1", "192.168.0.11",
     56324, 443, NULL, NULL, 0},
    {"the_longest_tcp4", OF("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"), "255.255.255.255", "255.255.255.255",
     65535, 65535, NULL, NULL, 0},
    {"zeroes", OF("PROXY TCP4 0.0.0.0 0.0.0.0 0 0\r\n"), "0.0.0.0", "0.0.0.0", 0, 0, NULL, NULL, 0},
    {"the_longest_tcp6",
     OF("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF:FFFF 65535 65535\r\n"),
     "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535, 65535, NULL, NULL, 0},
    {"short_tcp6", OF("PROXY TCP6 2001:DB8::1 ::ffff:192.0.2.1 1 65535\r\n"), "2001:db8::1", "::ffff:192.0.2.1", 1, 65535, NULL,
     NULL, 0},
    {"short_unknown", OF("PROXY UNKNOWN\r\n"), NULL, NULL, 0, 0, NULL, NULL, 0},
    {"unknown_with_ends", OF("PROXY UNKNOWN ::1 ::2 1 2\r\n"), NULL, NULL, 0, 0, NULL, NULL, 0},
    {"unknown_with_anything", OF("PROXY UNKNOWN \0\xff\n\r \r\r\n"), NULL, NULL, 0, 0, NULL, NULL, 0},
    {"the_longest_unknown",
     OF("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"), NULL,
     NULL, 0, 0, NULL, NULL, 0},
    {"v2_tcp4", OF(SIGNATURE "\x21\x11\0\x0c" V4_ENDS), "192.0.2.1", "198.51.100.2", 56324, 443, NULL, NULL, 0},
    {"v2_udp4", OF(SIGNATURE "\x21\x12\0\x0c" V4_ENDS), "192.0.2.1", "198.51.100.2", 56324, 443, NULL, NULL, 0},
    {"v2_tcp6", OF(SIGNATURE "\x21\x21\0\x24" V6_ENDS), "2001:db8::1", "2001:db8::2", 56324, 443, NULL, NULL, 0},
    {"v2_udp6", OF(SIGNATURE "\x21\x22\0\x24" V6_ENDS), "2001:db8::1", "2001:db8::2", 56324, 443, NULL, NULL, 0},
    {"v2_tcp4_with_a_checksum", OF(SIGNATURE "\x21\x11\0\x13" V4_ENDS "\x03\0\x04\x20\xec\x95\x49"), "192.0.2.1", "198.51.100.2",
     56324, 443, NULL, NULL, 0},
    {"v2_with_all",
     OF(SIGNATURE "\x21\x21\0\x4e" V6_ENDS "\x01\0\x02h2"
                  "\x02\0\x09"
                  "a.example"
                  "\x20\0\x0f\x01\0\0\0\x01\x21\0\x07TLSv1.3"
                  "\x03\0\x04\x8a\xce\x3d\x22"),
     "2001:db8::1", "2001:db8::2", 56324, 443, "a.example", "h2", 1},
    {"v2_ssl_without_the_bit", OF(SIGNATURE "\x21\x11\0\x14" V4_ENDS "\x20\0\x05\xfe\0\0\0\0"), "192.0.2.1", "198.51.100.2",
     56324, 443, NULL, NULL, 0},
    {"v2_what_is_not_known_is_skipped",
     OF(SIGNATURE "\x21\x11\0\x1b" V4_ENDS "\x04\0\x03xyz"
                  "\xe0\0\0"
                  "\xe0\0\0"
                  "\x02\0\0"),
     "192.0.2.1", "198.51.100.2", 56324, 443, NULL, NULL, 0},
    {"v2_local", OF(SIGNATURE "\x20\0\0\0"), NULL, NULL, 0, 0, NULL, NULL, 0},
    {"v2_local_says_nothing", OF(SIGNATURE "\x20\x11\0\x11" V4_ENDS "\x02\0\x02xy"), NULL, NULL, 0, 0, NULL, NULL, 0},
    {"v2_local_of_any_family_and_junk", OF(SIGNATURE "\x20\xff\0\x02\x01\xff"), NULL, NULL, 0, 0, NULL, NULL, 0},
    {"v2_unspec", OF(SIGNATURE "\x21\0\0\0"), NULL, NULL, 0, 0, NULL, NULL, 0},
    {"v2_unspec_with_an_authority", OF(SIGNATURE "\x21\0\0\x04\x02\0\x01q"), NULL, NULL, 0, 0, "q", NULL, 0},
    {"v2_unspec_protocol", OF(SIGNATURE "\x21\x10\0\x0c" V4_ENDS), NULL, NULL, 0, 0, NULL, NULL, 0},
    {"v2_unix", OF(SIGNATURE "\x21\x31\0\xd8" ZEROES_216), NULL, NULL, 0, 0, NULL, NULL, 0},
    {"v2_unix_datagram_with_alpn", OF(SIGNATURE "\x21\x32\0\xdc" ZEROES_216 "\x01\0\x01q"), NULL, NULL, 0, 0, NULL, "q", 0},
};

enum { GOOD = sizeof good / sizeof *good };

/* at: the count of bytes at which it is refused; with one byte less, it may still be a header. */
static const struct {
    const char *name;
    const char *bytes;
    uint32_t at;
    uint32_t count;
} bad[] = {
#define REFUSED(name, at, text) {name, text, at, sizeof(text) - 1}
    REFUSED("junk", 1, "x"),
    REFUSED("a_zero", 1, "\0"),
    REFUSED("http_get", 1, "GET / HTTP/1.1\r\n"),
    REFUSED("http_post", 2, "POST / HTTP/1.1\r\n"),
    REFUSED("http_propfind", 4, "PROPFIND / HTTP/1.1\r\n"),
    REFUSED("http_2", 3, "PRI * HTTP/2.0\r\n"),
    REFUSED("tls", 1, "\x16\x03\x01\x02\0\x01"),
    REFUSED("lower_case", 1, "proxy TCP4"),
    REFUSED("space_first", 1, " PROXY TCP4"),
    REFUSED("two_spaces_first", 7, "PROXY  TCP4"),
    REFUSED("tab", 6, "PROXY\tTCP4"),
    REFUSED("tcp5", 10, "PROXY TCP5 "),
    REFUSED("udp4", 8, "PROXY UDP4 "),
    REFUSED("tcp4_without_more", 11, "PROXY TCP4\r\n"),
    REFUSED("two_spaces_before_source", 12, "PROXY TCP4  1.2.3.4 1.2.3.4 1 2\r\n"),
    REFUSED("two_spaces_before_target", 20, "PROXY TCP4 1.2.3.4  1.2.3.4 1 2\r\n"),
    REFUSED("two_spaces_before_port", 28, "PROXY TCP4 1.2.3.4 1.2.3.4  1 2\r\n"),
    REFUSED("two_spaces_before_last_port", 30, "PROXY TCP4 1.2.3.4 1.2.3.4 1  2\r\n"),
    REFUSED("space_before_the_end", 31, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 \r\n"),
    REFUSED("no_source", 12, "PROXY TCP4 \r\n"),
    REFUSED("no_ports", 27, "PROXY TCP4 1.2.3.4 1.2.3.4\r\n"),
    REFUSED("one_port", 29, "PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n"),
    REFUSED("empty_last_port", 30, "PROXY TCP4 1.2.3.4 1.2.3.4 1 \r\n"),
    REFUSED("one_thing_more", 31, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2 3\r\n"),
    REFUSED("lf_alone", 31, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\n"),
    REFUSED("cr_alone", 32, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\rG"),
    REFUSED("two_cr", 32, "PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\r\n"),
    REFUSED("v6_in_tcp4", 12, "PROXY TCP4 ::1 ::2 1 2\r\n"),
    REFUSED("v4_in_tcp6", 19, "PROXY TCP6 1.2.3.4 1.2.3.4 1 2\r\n"),
    REFUSED("v4_as_target_of_tcp6", 23, "PROXY TCP6 ::1 1.2.3.4 1 2\r\n"),
    REFUSED("three_numbers", 17, "PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n"),
    REFUSED("five_numbers", 21, "PROXY TCP4 1.2.3.4.5 1.2.3.4 1 2\r\n"),
    REFUSED("number_of_256", 21, "PROXY TCP4 1.2.3.256 1.2.3.4 1 2\r\n"),
    REFUSED("number_with_a_zero_first", 20, "PROXY TCP4 1.2.3.04 1.2.3.4 1 2\r\n"),
    REFUSED("hexadecimal_number", 13, "PROXY TCP4 0x1.2.3.4 1.2.3.4 1 2\r\n"),
    REFUSED("a_name", 12, "PROXY TCP4 localhost 1.2.3.4 1 2\r\n"),
    REFUSED("v4_too_long", 27, "PROXY TCP4 100.100.100.1000 1.2.3.4 1 2\r\n"),
    REFUSED("zero_after_source", 19, "PROXY TCP4 1.2.3.4\0 1.2.3.4 1 2\r\n"),
    REFUSED("zero_in_port", 29, "PROXY TCP4 1.2.3.4 1.2.3.4 1\0 2\r\n"),
    REFUSED("v6_of_nine", 29, "PROXY TCP6 1:2:3:4:5:6:7:8:9 ::2 1 2\r\n"),
    REFUSED("v6_of_seven", 25, "PROXY TCP6 1:2:3:4:5:6:7 ::2 1 2\r\n"),
    REFUSED("v6_twice_shortened", 19, "PROXY TCP6 1::2::3 ::2 1 2\r\n"),
    REFUSED("v6_of_five_digits", 20, "PROXY TCP6 12345::1 ::2 1 2\r\n"),
    REFUSED("v6_with_a_scope", 19, "PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n"),
    REFUSED("v6_in_brackets", 12, "PROXY TCP6 [::1] ::2 1 2\r\n"),
    REFUSED("v6_too_long", 57, "PROXY TCP6 0000000000000000000000000000000000000000000000 ::2 1 2\r\n"),
    REFUSED("port_of_65536", 33, "PROXY TCP4 1.2.3.4 1.2.3.4 65536 2\r\n"),
    REFUSED("port_of_six_digits", 33, "PROXY TCP4 1.2.3.4 1.2.3.4 100000 2\r\n"),
    REFUSED("port_with_a_zero_first", 30, "PROXY TCP4 1.2.3.4 1.2.3.4 01 2\r\n"),
    REFUSED("port_of_two_zeroes", 32, "PROXY TCP4 1.2.3.4 1.2.3.4 1 00\r\n"),
    REFUSED("signed_port", 28, "PROXY TCP4 1.2.3.4 1.2.3.4 +1 2\r\n"),
    REFUSED("negative_port", 30, "PROXY TCP4 1.2.3.4 1.2.3.4 1 -2\r\n"),
    REFUSED("unknown_goes_on", 14, "PROXY UNKNOWNX\r\n"),
    REFUSED("unknown_ends_with_lf", 14, "PROXY UNKNOWN\n"),
    REFUSED("unknown_ends_with_cr", 15, "PROXY UNKNOWN\rX\r\n"),
    REFUSED("unknown_of_108", 107,
            "PROXY UNKNOWN fffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n"),
    REFUSED("tcp6_of_113", 107,
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255 ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255 1 1\r\n"),
    REFUSED("signature_broken", 12, "\r\n\r\n\0\r\nQUIT\r"),
    REFUSED("signature_without_zero", 5, "\r\n\r\nGET / HTTP/1.1\r\n"),
    REFUSED("version_1_of_v2", 13, SIGNATURE "\x11"),
    REFUSED("version_3", 13, SIGNATURE "\x31"),
    REFUSED("command_2", 13, SIGNATURE "\x22"),
    REFUSED("command_15", 13, SIGNATURE "\x2f"),
    REFUSED("family_4", 14, SIGNATURE "\x21\x41"),
    REFUSED("protocol_3", 14, SIGNATURE "\x21\x13"),
    REFUSED("longer_than_most", 15, SIGNATURE "\x21\x11\x10"),
    REFUSED("longer_than_most_by_one", 16, SIGNATURE "\x21\x11\x0f\xf1"),
    REFUSED("local_longer_than_most", 15, SIGNATURE "\x20\0\xff\xff"),
    REFUSED("v4_too_short", 16, SIGNATURE "\x21\x11\0\x0b"),
    REFUSED("v6_too_short", 16, SIGNATURE "\x21\x21\0\x23"),
    REFUSED("unix_too_short", 16, SIGNATURE "\x21\x31\0\xd7"),
    REFUSED("two_bytes_of_a_tlv", 30, SIGNATURE "\x21\x11\0\x0e" V4_ENDS "\x04\0"),
    REFUSED("tlv_beyond_the_end", 32, SIGNATURE "\x21\x11\0\x10" V4_ENDS "\x04\0\x02x"),
    REFUSED("a_byte_after_the_tlvs", 32, SIGNATURE "\x21\x11\0\x10" V4_ENDS "\x04\0\0\0"),
    REFUSED("tlvs_of_unspec_do_not_add_up", 17, SIGNATURE "\x21\0\0\x01\0"),
    REFUSED("checksum_wrong", 35, SIGNATURE "\x21\x11\0\x13" V4_ENDS "\x03\0\x04\x20\xec\x95\x48"),
    REFUSED("checksum_of_other_ends", 35,
            SIGNATURE "\x21\x11\0\x13"
                      "\xc0\0\x02\x02\xc6\x33\x64\x02\xdc\x04\x01\xbb"
                      "\x03\0\x04\x20\xec\x95\x49"),
    REFUSED("checksum_of_three_bytes", 34, SIGNATURE "\x21\x11\0\x12" V4_ENDS "\x03\0\x03\0\0\0"),
    REFUSED("checksum_of_none", 31, SIGNATURE "\x21\x11\0\x0f" V4_ENDS "\x03\0\0"),
    REFUSED("ssl_of_four_bytes", 35, SIGNATURE "\x21\x11\0\x13" V4_ENDS "\x20\0\x04\x01\0\0\0"),
    REFUSED("ssl_with_half_a_tlv", 38, SIGNATURE "\x21\x11\0\x16" V4_ENDS "\x20\0\x07\x01\0\0\0\0\x21\0"),
    REFUSED("ssl_whose_tlv_leaves_it", 43, SIGNATURE "\x21\x11\0\x1b" V4_ENDS "\x20\0\x08\x01\0\0\0\0\x21\0\x04\x04\0\x01x"),
    REFUSED("two_authorities", 36, SIGNATURE "\x21\x11\0\x14" V4_ENDS "\x02\0\x01x\x02\0\x01y"),
    REFUSED("two_alpn", 36, SIGNATURE "\x21\x11\0\x14" V4_ENDS "\x01\0\x01x\x01\0\x01x"),
    REFUSED("two_ssl", 44, SIGNATURE "\x21\x11\0\x1c" V4_ENDS "\x20\0\x05\x01\0\0\0\0\x20\0\x05\x01\0\0\0\0"),
};

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
