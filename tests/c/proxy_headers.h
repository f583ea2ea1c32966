/* PROXY headers of both versions, written by hand: good ones with what they tell, bad ones with the byte that gives them away. */
#ifndef PROXY_HEADERS_H
#define PROXY_HEADERS_H

#include <stdint.h>
#include <stddef.h>

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

#endif
