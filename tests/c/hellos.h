/* TLS ClientHellos that are made by hand, good ones and faulty ones, and read at the edge of a page. */
#ifndef HELLOS_H
#define HELLOS_H

#include "check.h"
#include "edge.h"
#include "l4/hello.h"

static inline int read_edged(struct lb_hello *hello, const uint8_t *bytes, uint32_t count)
{
    struct edge edge;
    int fate = lb_hello_read(hello, copied_to_the_edge(&edge, bytes, count), count);
    leave_the_edge(&edge);
    return fate;
}

struct piece {
    const char *bytes;
    uint32_t count;
};

#define TEXT(text) {text, sizeof(text) - 1}
#define P(text) ((struct piece)TEXT(text))

/* The parts of a hello; what is not given is as in a good one. Vectors are given without their length. */
struct parts {
    struct piece version, session_id, suites, compressions, extensions;
    struct piece after;   /* behind the extensions */
    int no_extensions;    /* not even their length */
    int more_than_it_has; /* what the length of the extensions says too much */
    int longer, of_type;  /* what the message's length says too much; its type, 0: the right one */
};

struct bytes {
    uint8_t at[2 * LB_HELLO_ROOM];
    uint32_t count;
};

static inline void put(struct bytes *out, const void *bytes, uint32_t count)
{
    CHECK(out->count + count <= sizeof out->at);
    memcpy(out->at + out->count, bytes, count);
    out->count += count;
}

static inline void put_number(struct bytes *out, uint32_t value, uint32_t width)
{
    while (width--) {
        uint8_t byte = (uint8_t)(value >> 8 * width);
        put(out, &byte, 1);
    }
}

static inline void put_piece(struct bytes *out, struct piece piece, struct piece usual, uint32_t width)
{
    struct piece it = piece.bytes ? piece : usual;
    if (width)
        put_number(out, it.count, width);
    put(out, it.bytes, it.count);
}

#define SNI_OF_A "\0\0\0\x06\0\x04\0\0\x01\x61"
#define ALPN_OF_H2 "\0\x10\0\x05\0\x03\x02h2"
#define VERSION_1_3 "\0\x2b\0\x03\x02\x03\x04"

/* GREASE first, an unknown one, the name, ALPN with GREASE, the versions with GREASE, an empty one at the end. */
static const char good_extensions[] = "\x2a\x2a\0\0\xfe\x0d\0\x05\x01\x02\x03\x04\x05"
                                      "\0\0\0\x10\0\x0e\0\0\x0b"
                                      "wWw.a_b-9.X"
                                      "\0\x10\0\x11\0\x0f\x02\xca\xca\x02h2\x08http/1.1"
                                      "\0\x2b\0\x07\x06\x5a\x5a\x03\x04\x03\x03\0\x17\0\0";

static inline void make_message(struct bytes *out, const struct parts *parts)
{
    static const char random[32] = "thirty-two bytes of no account..";
    struct bytes body = {.count = 0};
    put_piece(&body, parts->version, P("\x03\x03"), 0);
    put(&body, random, sizeof random);
    put_piece(&body, parts->session_id, P("session"), 1);
    put_piece(&body, parts->suites, P("\x0a\x0a\x13\x01\xc0\x2f"), 2);
    put_piece(&body, parts->compressions, P("\0"), 1);
    struct piece extensions = parts->extensions.bytes ? parts->extensions : P(good_extensions);
    if (!parts->no_extensions) {
        put_number(&body, extensions.count + (uint32_t)parts->more_than_it_has, 2);
        put(&body, extensions.bytes, extensions.count);
    }
    put_piece(&body, parts->after, P(""), 0);
    out->count = 0;
    put_number(out, parts->of_type ? (uint32_t)parts->of_type : 1, 1);
    put_number(out, body.count + (uint32_t)parts->longer, 3);
    put(out, body.at, body.count);
}

/* In records of `size` bytes each, but for the last. */
static inline void put_records(struct bytes *out, const struct bytes *message, uint32_t size)
{
    for (uint32_t at = 0; at < message->count; at += size) {
        uint32_t here = message->count - at < size ? message->count - at : size;
        put_number(out, 0x160301, 3);
        put_number(out, here, 2);
        put(out, message->at + at, here);
    }
}

static inline void make(struct bytes *out, const struct parts *parts, uint32_t size)
{
    static struct bytes message;
    make_message(&message, parts);
    out->count = 0;
    put_records(out, &message, size);
}

static const struct parts good = {.no_extensions = 0};
static struct bytes flight;

static inline int fate_of(const struct parts *parts)
{
    static struct lb_hello hello;
    make(&flight, parts, 16384);
    return read_edged(&hello, flight.at, flight.count);
}

static inline int fate_with(struct piece extensions)
{
    const struct parts parts = {.extensions = extensions};
    return fate_of(&parts);
}

#endif
