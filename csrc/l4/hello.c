#include "hello.h"

#include <string.h>

enum {
    HANDSHAKE = 22,    /* a record's content type */
    RECORD_HEADER = 5, /* type, version, length (RFC 8446 5.1) */
    RECORD_MOST = 16384,
    CLIENT_HELLO = 1, /* a handshake message's type */
    TLS_MAJOR = 3,    /* of SSL 3.0 and of every TLS */
    RANDOM_BYTES = 32,
    SESSION_ID_MOST = 32,
    HOST_NAME = 0, /* a server name's type */
};

enum extension { SERVER_NAME = 0, ALPN = 16, SUPPORTED_VERSIONS = 43 };

/* --- the cursor ----------------------------------------------------------------------------------------------------- */

/* Walks the handshake message as if its records were joined. Whoever asks for bytes says of which vector they are: `left` is what
 * remains of it, and to run out of that is a fault, while to run out of what was received only means to wait. After the first
 * stop nothing moves any more and everything reads as zero, so that callers need not look after each step. */
struct cursor {
    const uint8_t *data;
    uint32_t count;  /* received, as far as there is room */
    uint32_t at;     /* the next byte */
    uint32_t record; /* of the record around `at`: bytes to come */
    int fate;        /* LB_HELLO_DONE while it goes well */
};

static void stop(struct cursor *cursor, int fate)
{
    if (cursor->fate == LB_HELLO_DONE)
        cursor->fate = fate;
}

static void refuse_if(struct cursor *cursor, int fault)
{
    if (fault)
        stop(cursor, LB_HELLO_BAD);
}

static void wait_for_more(struct cursor *cursor)
{
    stop(cursor, cursor->count < LB_HELLO_ROOM ? LB_HELLO_MORE : LB_HELLO_BAD);
}

/* Each byte of a header is judged as soon as it is there: what is no TLS at all should not be waited for. */
static void next_record(struct cursor *cursor)
{
    uint32_t at = cursor->at, there = cursor->count - at;
    refuse_if(cursor, there > 0 && cursor->data[at] != HANDSHAKE);
    refuse_if(cursor, there > 1 && cursor->data[at + 1] != TLS_MAJOR);
    if (there < RECORD_HEADER) {
        wait_for_more(cursor);
        return;
    }
    uint32_t length = (uint32_t)cursor->data[at + 3] << 8 | cursor->data[at + 4];
    refuse_if(cursor, !length || length > RECORD_MOST); /* no empty fragments of handshake messages (RFC 8446 5.1) */
    cursor->at += RECORD_HEADER;
    cursor->record = length;
}

/* So many bytes on; they are copied to `out` unless it is NULL. */
static void advance(struct cursor *cursor, uint32_t bytes, void *out)
{
    uint8_t *to = out;
    while (bytes && cursor->fate == LB_HELLO_DONE) {
        if (!cursor->record) {
            next_record(cursor);
            continue;
        }
        uint32_t there = cursor->count - cursor->at, here = bytes < cursor->record ? bytes : cursor->record;
        if (here > there)
            here = there;
        if (!here) {
            wait_for_more(cursor);
            return;
        }
        if (to) {
            memcpy(to, cursor->data + cursor->at, here);
            to += here;
        }
        cursor->at += here;
        cursor->record -= here;
        bytes -= here;
    }
}

static void take(struct cursor *cursor, uint32_t *left, uint32_t bytes, void *out)
{
    refuse_if(cursor, bytes > *left);
    if (cursor->fate != LB_HELLO_DONE)
        return;
    *left -= bytes;
    advance(cursor, bytes, out);
}

static uint32_t number(struct cursor *cursor, uint32_t *left, uint32_t width)
{
    uint8_t bytes[3] = {0};
    uint32_t value = 0;
    take(cursor, left, width, bytes);
    for (uint32_t i = 0; i < width; i++)
        value = value << 8 | bytes[i];
    return cursor->fate == LB_HELLO_DONE ? value : 0;
}

/* The length of a vector that begins here (RFC 8446 3.4), behind a length field of `width` bytes. What is around it has paid for
 * it from here on: its bytes are taken from the response. */
static uint32_t vector(struct cursor *cursor, uint32_t *left, uint32_t width)
{
    uint32_t length = number(cursor, left, width);
    refuse_if(cursor, length > *left);
    if (cursor->fate != LB_HELLO_DONE)
        return 0;
    *left -= length;
    return length;
}

/* --- server_name ---------------------------------------------------------------------------------------------------- */

static int is_of_a_name(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

/* Make the name what it is compared as. 0: it is none. An empty label is no part of any but the root (RFC 1034 3.1), and the last
 * dot that stands for the root should not even be there (RFC 6066 3). */
static int normalize(struct lb_hello *hello)
{
    char before = '.';
    if (hello->name_length && hello->name[hello->name_length - 1] == '.')
        hello->name_length--;
    for (uint32_t i = 0; i < hello->name_length; i++) {
        char c = hello->name[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c + ('a' - 'A'));
        if (!is_of_a_name(c) || (c == '.' && before == '.'))
            return 0;
        hello->name[i] = before = c;
    }
    hello->name[hello->name_length] = 0;
    return before != '.';
}

static void read_host_name(struct cursor *cursor, struct lb_hello *hello, uint32_t length)
{
    uint32_t left = length;
    refuse_if(cursor, length >= sizeof hello->name || hello->name_length); /* one of a type (RFC 6066 3) */
    take(cursor, &left, length, hello->name);
    if (cursor->fate != LB_HELLO_DONE)
        return;
    hello->name_length = length;
    refuse_if(cursor, !normalize(hello));
}

/* Names of other types are passed over: whatever they will be, it begins with two bytes of length (RFC 6066 3). */
static void read_server_name(struct cursor *cursor, struct lb_hello *hello, uint32_t left)
{
    uint32_t list = vector(cursor, &left, 2);
    refuse_if(cursor, !list || left);
    while (list && cursor->fate == LB_HELLO_DONE) {
        uint32_t type = number(cursor, &list, 1), length = vector(cursor, &list, 2);
        if (type == HOST_NAME)
            read_host_name(cursor, hello, length);
        else
            advance(cursor, length, NULL);
    }
}

/* --- ALPN and versions ---------------------------------------------------------------------------------------------- */

/* 0: they do not fill the list, or one is empty (RFC 7301 3.1). */
static int count_protocols(struct lb_hello *hello)
{
    uint32_t at = 0;
    while (at < hello->alpn_length && hello->alpn[at]) {
        at += 1u + (uint8_t)hello->alpn[at];
        hello->protocol_count++;
    }
    return hello->protocol_count && at == hello->alpn_length;
}

static void read_alpn(struct cursor *cursor, struct lb_hello *hello, uint32_t left)
{
    uint32_t list = vector(cursor, &left, 2), length = list;
    refuse_if(cursor, left || length > sizeof hello->alpn);
    take(cursor, &list, length, hello->alpn);
    if (cursor->fate != LB_HELLO_DONE)
        return;
    hello->alpn_length = length;
    refuse_if(cursor, !count_protocols(hello));
}

/* Where it is there, legacy_version says nothing (RFC 8446 4.2.1). GREASE (RFC 8701) and drafts have another first byte. */
static void read_versions(struct cursor *cursor, struct lb_hello *hello, uint32_t left)
{
    uint32_t list = vector(cursor, &left, 1);
    refuse_if(cursor, !list || list % 2 || left);
    hello->version = 0;
    while (list && cursor->fate == LB_HELLO_DONE) {
        uint32_t version = number(cursor, &list, 2);
        if (version >> 8 == TLS_MAJOR && version > hello->version)
            hello->version = (uint16_t)version;
    }
}

/* --- the hello ------------------------------------------------------------------------------------------------------ */

static void read_extension(struct cursor *cursor, struct lb_hello *hello, uint32_t type, uint32_t length)
{
    switch (type) {
    case SERVER_NAME:
        read_server_name(cursor, hello, length);
        break;
    case ALPN:
        read_alpn(cursor, hello, length);
        break;
    case SUPPORTED_VERSIONS:
        read_versions(cursor, hello, length);
        break;
    default:
        advance(cursor, length, NULL);
    }
}

/* None may come twice (RFC 8446 4.2). Only those that are read here are watched, and their numbers are small. */
static void read_extensions(struct cursor *cursor, struct lb_hello *hello, uint32_t left)
{
    const uint64_t watched = UINT64_C(1) << SERVER_NAME | UINT64_C(1) << ALPN | UINT64_C(1) << SUPPORTED_VERSIONS;
    uint64_t seen = 0;
    while (left && cursor->fate == LB_HELLO_DONE) {
        uint32_t type = number(cursor, &left, 2), length = vector(cursor, &left, 2);
        uint64_t bit = type < 64 ? UINT64_C(1) << type & watched : 0;
        refuse_if(cursor, (seen & bit) != 0);
        seen |= bit;
        read_extension(cursor, hello, type, length);
    }
}

/* What stands before the extensions, for its lengths only. */
static void read_fixed_part(struct cursor *cursor, struct lb_hello *hello, uint32_t *left)
{
    hello->version = (uint16_t)number(cursor, left, 2);
    refuse_if(cursor, hello->version >> 8 != TLS_MAJOR);
    take(cursor, left, RANDOM_BYTES, NULL);
    uint32_t session_id = vector(cursor, left, 1);
    refuse_if(cursor, session_id > SESSION_ID_MOST);
    advance(cursor, session_id, NULL);
    uint32_t suites = vector(cursor, left, 2);
    refuse_if(cursor, !suites || suites % 2);
    advance(cursor, suites, NULL);
    uint32_t compressions = vector(cursor, left, 1);
    refuse_if(cursor, !compressions);
    advance(cursor, compressions, NULL);
}

static uint32_t read_handshake_header(struct cursor *cursor)
{
    uint32_t left = 4;
    refuse_if(cursor, number(cursor, &left, 1) != CLIENT_HELLO);
    uint32_t length = number(cursor, &left, 3);
    refuse_if(cursor, length > LB_HELLO_MOST);
    return length;
}

static void read_hello(struct cursor *cursor, struct lb_hello *hello)
{
    uint32_t left = read_handshake_header(cursor);
    read_fixed_part(cursor, hello, &left);
    if (left) { /* a hello may end without extensions (RFC 5246 7.4.1.2) */
        uint32_t extensions = vector(cursor, &left, 2);
        refuse_if(cursor, left != 0);
        read_extensions(cursor, hello, extensions);
    }
    refuse_if(cursor, cursor->record != 0); /* its last record ends with it (RFC 8446 5.1) */
}

int lb_hello_read(struct lb_hello *hello, const uint8_t *data, uint32_t count)
{
    struct cursor cursor = {.data = data, .count = count < LB_HELLO_ROOM ? count : LB_HELLO_ROOM, .fate = LB_HELLO_DONE};
    hello->name[0] = 0;
    hello->name_length = hello->alpn_length = hello->protocol_count = hello->version = 0;
    read_hello(&cursor, hello);
    return cursor.fate;
}

int lb_hello_offers(const struct lb_hello *hello, const char *protocol, uint32_t length)
{
    uint32_t at = 0;
    while (at < hello->alpn_length) {
        uint32_t here = (uint8_t)hello->alpn[at++];
        if (here == length && memcmp(hello->alpn + at, protocol, length) == 0)
            return 1;
        at += here;
    }
    return 0;
}
