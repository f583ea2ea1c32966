/* UTF-8 (RFC 3629 4), strictly: no longer form than a character needs, no surrogate, nothing above U+10FFFF. */
#ifndef LB_JSON_UTF8_H
#define LB_JSON_UTF8_H

#include <stdint.h>

/* What may follow a character's first byte. */
struct lb_utf8_rest {
    uint8_t count; /* bytes; 0: it begins no character */
    uint8_t least; /* of the next one; those behind it are from 0x80 to 0xbf */
    uint8_t most;
};

static inline struct lb_utf8_rest lb_utf8_rest(uint8_t first)
{
    if (first < 0xc2 || first > 0xf4)
        return (struct lb_utf8_rest){0};
    uint8_t count = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    uint8_t least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    uint8_t most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    return (struct lb_utf8_rest){count, least, most};
}

/* Bytes of the character at this place; 0: it is none, or not there whole. */
static inline uint32_t lb_utf8_character(const char *at, const char *end)
{
    const uint8_t *byte = (const uint8_t *)at;
    if (end - at >= 3 && byte[0] > 0xe0 && byte[0] < 0xed) /* most of what is written in Asia */
        return (byte[1] & 0xc0) == 0x80 && (byte[2] & 0xc0) == 0x80 ? 3 : 0;
    struct lb_utf8_rest rest = lb_utf8_rest(byte[0]);
    if (!rest.count || end - at <= rest.count || byte[1] < rest.least || byte[1] > rest.most)
        return 0;
    for (int i = 2; i <= rest.count; i++)
        if ((byte[i] & 0xc0) != 0x80)
            return 0;
    return rest.count + UINT32_C(1);
}

/* Write a code point, of a surrogate as of any other: bytes written, at most 4. */
static inline uint32_t lb_utf8_write(char *to, uint32_t code)
{
    if (code < 0x80) {
        to[0] = (char)code;
        return 1;
    }
    uint32_t count = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (uint32_t i = count - 1; i; i--, code >>= 6)
        to[i] = (char)(0x80 | (code & 0x3f));
    to[0] = (char)(code | (count == 2 ? 0xc0 : count == 3 ? 0xe0 : 0xf0));
    return count;
}

#endif
