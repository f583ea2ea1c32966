#include <string.h>

#include "check.h"
#include "hellos.h"
#include "l4/hello.h"

/* --- good ones -------------------------------------------------------------------------------------------------------- */

static void check_good(const struct lb_hello *hello)
{
    CHECK(hello->name_length == 11 && strcmp(hello->name, "www.a_b-9.x") == 0);
    CHECK(hello->alpn_length == 15 && memcmp(hello->alpn, "\x02\xca\xca\x02h2\x08http/1.1", 15) == 0);
    CHECK(hello->protocol_count == 3 && hello->version == 0x0304);
    CHECK(lb_hello_offers(hello, "h2", 2) && lb_hello_offers(hello, "http/1.1", 8) && lb_hello_offers(hello, "\xca\xca", 2));
    CHECK(!lb_hello_offers(hello, "h", 1) && !lb_hello_offers(hello, "h2c", 3) && !lb_hello_offers(hello, "", 0));
    CHECK(!lb_hello_offers(hello, "http/1.0", 8) && !lb_hello_offers(hello, "H2", 2));
}

static void every_fragment_size_at_every_split_point(void)
{
    static struct bytes message;
    struct lb_hello hello;
    make_message(&message, &good);
    for (uint32_t size = 1; size <= message.count; size++) {
        make(&flight, &good, size);
        for (uint32_t cut = 0; cut < flight.count; cut++)
            CHECK(read_edged(&hello, flight.at, cut) == LB_HELLO_MORE);
        CHECK(read_edged(&hello, flight.at, flight.count) == LB_HELLO_DONE);
        check_good(&hello);
    }
}

static void what_follows_is_not_looked_at(void)
{
    struct lb_hello hello;
    make(&flight, &good, 100);
    while (flight.count < LB_HELLO_ROOM + 100) {
        put(&flight, "GET ", 4);
        CHECK(lb_hello_read(&hello, flight.at, flight.count) == LB_HELLO_DONE);
    }
    check_good(&hello);
}

static void little_is_enough(void)
{
    const struct parts none = {.no_extensions = 1, .version = P("\x03\x01"), .session_id = P("")};
    const struct parts empty = {.extensions = P("")};
    struct lb_hello hello;
    make(&flight, &none, 16384);
    CHECK(read_edged(&hello, flight.at, flight.count) == LB_HELLO_DONE);
    CHECK(!hello.name_length && !hello.name[0] && !hello.alpn_length && !hello.protocol_count && hello.version == 0x0301);
    CHECK(!lb_hello_offers(&hello, "h2", 2) && !lb_hello_offers(&hello, "", 0));
    make(&flight, &empty, 16384);
    CHECK(read_edged(&hello, flight.at, flight.count) == LB_HELLO_DONE);
    CHECK(!hello.name_length && hello.version == 0x0303);
    CHECK(lb_hello_read(&hello, NULL, 0) == LB_HELLO_MORE);
}

/* What an earlier connection left in the struct does not shine through. */
static void nothing_is_left_of_before(void)
{
    const struct parts none = {.no_extensions = 1};
    struct lb_hello hello;
    make(&flight, &good, 16384);
    CHECK(lb_hello_read(&hello, flight.at, flight.count) == LB_HELLO_DONE);
    make(&flight, &none, 16384);
    CHECK(lb_hello_read(&hello, flight.at, flight.count) == LB_HELLO_DONE);
    CHECK(!hello.name_length && !hello.alpn_length && !hello.protocol_count && hello.version == 0x0303);
}

static void versions(void)
{
    static const struct {
        struct piece extensions;
        uint16_t version;
    } cases[] = {
        {TEXT("\0\x2b\0\x05\x04\x03\x03\x03\x02"), 0x0303},
        {TEXT("\0\x2b\0\x05\x04\x03\x02\x03\x04"), 0x0304},
        {TEXT("\0\x2b\0\x05\x04\xfa\xfa\x03\x04"), 0x0304},
        {TEXT("\0\x2b\0\x05\x04\x7f\x1c\x03\x01"), 0x0301},
        {TEXT("\0\x2b\0\x03\x02\x0a\x0a"), 0},
    };
    struct lb_hello hello;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct parts parts = {.extensions = cases[i].extensions};
        make(&flight, &parts, 16384);
        CHECK(read_edged(&hello, flight.at, flight.count) == LB_HELLO_DONE);
        CHECK(hello.version == cases[i].version);
    }
}

/* --- names ------------------------------------------------------------------------------------------------------------ */

/* One server_name extension with one name. */
static int read_name(struct lb_hello *hello, const char *name, uint32_t length)
{
    static struct bytes extensions;
    extensions.count = 0;
    put_number(&extensions, 0, 2);
    put_number(&extensions, length + 5, 2);
    put_number(&extensions, length + 3, 2);
    put_number(&extensions, 0, 1);
    put_number(&extensions, length, 2);
    put(&extensions, name, length);
    const struct parts parts = {.extensions = {(const char *)extensions.at, extensions.count}};
    make(&flight, &parts, 16384);
    return read_edged(hello, flight.at, flight.count);
}

static void names(void)
{
    static const struct {
        const char *sent, *read; /* read: NULL, it is refused */
    } cases[] = {
        {"a", "a"},
        {"A.Example.COM", "a.example.com"},
        {"a.example.", "a.example"},
        {"localhost", "localhost"},
        {"_x._tcp.A", "_x._tcp.a"},
        {"xn--mnchen-3ya.de", "xn--mnchen-3ya.de"},
        {"192.0.2.1", "192.0.2.1"},
        {"", NULL},
        {".", NULL},
        {"..", NULL},
        {".a", NULL},
        {"a..b", NULL},
        {"a..", NULL},
        {"2001:db8::1", NULL},
        {"[::1]", NULL},
        {"a b", NULL},
        {"a/b", NULL},
        {"*.a", NULL},
        {"a:443", NULL},
        {"m\xc3\xbcnchen.de", NULL},
    };
    struct lb_hello hello;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
        int fate = read_name(&hello, cases[i].sent, (uint32_t)strlen(cases[i].sent));
        CHECK(fate == (cases[i].read ? LB_HELLO_DONE : LB_HELLO_BAD));
        if (cases[i].read)
            CHECK(strcmp(hello.name, cases[i].read) == 0 && hello.name_length == strlen(cases[i].read));
    }
}

static void every_byte_of_a_name(void)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
    struct lb_hello hello;
    for (int c = 0; c < 256; c++) {
        char name[3] = {'a', (char)c, 'b'};
        int fate = read_name(&hello, name, 3);
        CHECK(fate == (c && strchr(allowed, c) ? LB_HELLO_DONE : LB_HELLO_BAD));
    }
}

static void long_names(void)
{
    char name[300];
    struct lb_hello hello;
    memset(name, 'a', sizeof name);
    CHECK(read_name(&hello, name, 255) == LB_HELLO_DONE && hello.name_length == 255 && strlen(hello.name) == 255);
    CHECK(read_name(&hello, name, 256) == LB_HELLO_BAD);
    name[254] = '.';
    CHECK(read_name(&hello, name, 255) == LB_HELLO_DONE && hello.name_length == 254);
}

/* Types of names to come are passed over. */
static void names_of_other_types(void)
{
    const struct parts other = {.extensions = P("\0\0\0\x06\0\x04\x07\0\x01:")},
                       both = {.extensions = P("\0\0\0\x0a\0\x08\x07\0\x01:\0\0\x01"
                                               "a")};
    struct lb_hello hello;
    make(&flight, &other, 16384);
    CHECK(read_edged(&hello, flight.at, flight.count) == LB_HELLO_DONE && !hello.name_length);
    make(&flight, &both, 16384);
    CHECK(read_edged(&hello, flight.at, flight.count) == LB_HELLO_DONE && strcmp(hello.name, "a") == 0);
}

static void long_protocol_lists(void)
{
    static struct bytes extensions;
    struct lb_hello hello;
    for (uint32_t names = 127; names <= 129; names++) {
        extensions.count = 0;
        put_number(&extensions, 16, 2);
        put_number(&extensions, 2 * names + 2, 2);
        put_number(&extensions, 2 * names, 2);
        for (uint32_t i = 0; i < names; i++)
            put(&extensions, "\x01x", 2);
        const struct parts parts = {.extensions = {(const char *)extensions.at, extensions.count}};
        make(&flight, &parts, 16384);
        CHECK(read_edged(&hello, flight.at, flight.count) == (names <= 128 ? LB_HELLO_DONE : LB_HELLO_BAD));
        if (names <= 128)
            CHECK(hello.protocol_count == names && lb_hello_offers(&hello, "x", 1) && !lb_hello_offers(&hello, "y", 1));
    }
}

/* --- refusals --------------------------------------------------------------------------------------------------------- */

static void refused_by_part(void)
{
    static const struct {
        const char *name;
        struct parts parts;
    } cases[] = {
        {"a server's hello", {.of_type = 2}},
        {"a legacy_version of another major", {.version = TEXT("\x02\x00")}},
        {"a GREASE legacy_version", {.version = TEXT("\x0a\x0a")}},
        {"a session id of 33 bytes", {.session_id = TEXT("012345678901234567890123456789012")}},
        {"no cipher suites", {.suites = TEXT("")}},
        {"half a cipher suite", {.suites = TEXT("\x13\x01\x13")}},
        {"no compression methods", {.compressions = TEXT("")}},
        {"one byte behind the extensions", {.after = TEXT("\0")}},
        {"two bytes behind the extensions", {.after = TEXT("\0\0")}},
        {"one byte in place of the extensions", {.no_extensions = 1, .after = TEXT("\0")}},
        {"extensions longer than the message", {.more_than_it_has = 1}},
        {"extensions shorter than they are", {.more_than_it_has = -1}},
        {"a message that ends within its extensions", {.longer = -1}},
        {"a message that ends before its extensions", {.longer = -(int)sizeof good_extensions - 1}},
        {"a message that ends in its random bytes", {.longer = -(int)sizeof good_extensions - 32}},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        if (fate_of(&cases[i].parts) != LB_HELLO_BAD) {
            fprintf(stderr, "not refused: %s\n", cases[i].name);
            exit(1);
        }
}

static void refused_by_extension(void)
{
    static const struct {
        const char *name;
        struct piece extensions;
    } cases[] = {
        {"half a type", TEXT("\0")},
        {"a type without a length", TEXT("\0\0")},
        {"half a length", TEXT("\0\0\0")},
        {"an extension longer than the rest", TEXT("\xff\x01\0\x02\0")},
        {"two server_name extensions", TEXT(SNI_OF_A SNI_OF_A)},
        {"two ALPN extensions", TEXT(ALPN_OF_H2 ALPN_OF_H2)},
        {"two supported_versions extensions", TEXT(VERSION_1_3 VERSION_1_3)},
        {"two server_name extensions with another between", TEXT(SNI_OF_A ALPN_OF_H2 SNI_OF_A)},
        {"an empty server_name extension", TEXT("\0\0\0\0")},
        {"half a length of server names", TEXT("\0\0\0\x01\0")},
        {"no server names", TEXT("\0\0\0\x02\0\0")},
        {"a list of names longer than the extension", TEXT("\0\0\0\x06\0\x05\0\0\x01"
                                                           "a")},
        {"a list of names shorter than the extension", TEXT("\0\0\0\x07\0\x04\0\0\x01"
                                                            "aa")},
        {"a name longer than its list", TEXT("\0\0\0\x06\0\x04\0\0\x02"
                                             "a")},
        {"a name shorter than its list", TEXT("\0\0\0\x07\0\x05\0\0\x01"
                                              "aa")},
        {"a name's type without a name", TEXT("\0\0\0\x03\0\x01\0")},
        {"two host names", TEXT("\0\0\0\x0a\0\x08\0\0\x01"
                                "a\0\0\x01"
                                "b")},
        {"a name with a NUL", TEXT("\0\0\0\x08\0\x06\0\0\x03"
                                   "a\0b")},
        {"an unknown name longer than its list", TEXT("\0\0\0\x06\0\x04\x07\0\x02"
                                                      "a")},
        {"an empty ALPN extension", TEXT("\0\x10\0\0")},
        {"an empty ALPN list", TEXT("\0\x10\0\x02\0\0")},
        {"an empty protocol name", TEXT("\0\x10\0\x03\0\x01\0")},
        {"an empty protocol name after another", TEXT("\0\x10\0\x06\0\x04\x02h2\0")},
        {"an empty protocol name before another", TEXT("\0\x10\0\x06\0\x04\0\x02h2")},
        {"a protocol name longer than its list", TEXT("\0\x10\0\x05\0\x03\x03h2")},
        {"an ALPN list longer than the extension", TEXT("\0\x10\0\x05\0\x04\x02h2")},
        {"an ALPN list shorter than the extension", TEXT("\0\x10\0\x06\0\x03\x02h2\0")},
        {"an empty supported_versions extension", TEXT("\0\x2b\0\0")},
        {"no versions", TEXT("\0\x2b\0\x01\0")},
        {"half a version", TEXT("\0\x2b\0\x02\x01\x03")},
        {"a version and a half", TEXT("\0\x2b\0\x04\x03\x03\x04\x03")},
        {"versions longer than the extension", TEXT("\0\x2b\0\x03\x04\x03\x04")},
        {"versions shorter than the extension", TEXT("\0\x2b\0\x05\x02\x03\x04\x03\x03")},
    };
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        if (fate_with(cases[i].extensions) != LB_HELLO_BAD) {
            fprintf(stderr, "not refused: %s\n", cases[i].name);
            exit(1);
        }
    CHECK(fate_with(P(SNI_OF_A ALPN_OF_H2 VERSION_1_3)) == LB_HELLO_DONE);
}

/* What is no TLS is refused by the byte that tells. */
static void refused_at_once(void)
{
    static const struct {
        const char *name;
        struct piece first;
        uint32_t tells; /* bytes before the one that tells */
    } cases[] = {
        {"HTTP", TEXT("GET / HTTP/1.1\r\n"), 0},
        {"a PROXY header", TEXT("PROXY TCP4 "), 0},
        {"an SSLv2 hello", TEXT("\x80\x2e\x01\x03\x01"), 0},
        {"zeros", TEXT("\0\0\0\0\0"), 0},
        {"an alert", TEXT("\x15\x03\x01\0\x02\x02\x28"), 0},
        {"application data", TEXT("\x17\x03\x03\0\x10"), 0},
        {"a change of cipher spec", TEXT("\x14\x03\x03\0\x01\x01"), 0},
        {"a record of SSL 2", TEXT("\x16\x02\0\0\x05"), 1},
        {"a record of version 4", TEXT("\x16\x04\x01\0\x05"), 1},
        {"an empty record", TEXT("\x16\x03\x01\0\0"), 4},
        {"a record of 16,385 bytes", TEXT("\x16\x03\x01\x40\x01"), 4},
        {"a finished message", TEXT("\x16\x03\x01\0\x10\x14"), 5},
        {"a hello of 16,385 bytes", TEXT("\x16\x03\x01\x40\0\x01\0\x40\x01"), 8},
        {"a hello of 65,536 bytes", TEXT("\x16\x03\x01\x40\0\x01\x01\0\0"), 8},
        {"an empty hello", TEXT("\x16\x03\x01\0\x05\x01\0\0\0\x03"), 8},
        {"another record of application data", TEXT("\x16\x03\x01\0\x01\x01\x17"), 6},
        {"another record of SSL 2", TEXT("\x16\x03\x01\0\x01\x01\x16\x02"), 7},
        {"another record that is empty", TEXT("\x16\x03\x01\0\x01\x01\x16\x03\x01\0\0"), 10},
    };
    struct lb_hello hello;
    for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++)
        for (uint32_t count = 0; count <= cases[i].first.count; count++) {
            int fate = read_edged(&hello, (const uint8_t *)cases[i].first.bytes, count);
            if (fate != (count <= cases[i].tells ? LB_HELLO_MORE : LB_HELLO_BAD)) {
                fprintf(stderr, "%s: %d after %u bytes\n", cases[i].name, fate, count);
                exit(1);
            }
        }
}

/* The record's end is the hello's (RFC 8446 5.1). */
static void refused_when_the_record_goes_on(void)
{
    static struct bytes message;
    struct lb_hello hello;
    make_message(&message, &good);
    put(&message, "", 1);
    flight.count = 0;
    put_records(&flight, &message, 16384);
    for (uint32_t cut = 0; cut < flight.count - 1; cut++)
        CHECK(read_edged(&hello, flight.at, cut) == LB_HELLO_MORE);
    CHECK(read_edged(&hello, flight.at, flight.count - 1) == LB_HELLO_BAD);
    CHECK(read_edged(&hello, flight.at, flight.count) == LB_HELLO_BAD);
}

int main(void)
{
    RUN(every_fragment_size_at_every_split_point);
    RUN(what_follows_is_not_looked_at);
    RUN(little_is_enough);
    RUN(nothing_is_left_of_before);
    RUN(versions);
    RUN(names);
    RUN(every_byte_of_a_name);
    RUN(long_names);
    RUN(names_of_other_types);
    RUN(long_protocol_lists);
    RUN(refused_by_part);
    RUN(refused_by_extension);
    RUN(refused_at_once);
    RUN(refused_when_the_record_goes_on);
    return 0;
}
