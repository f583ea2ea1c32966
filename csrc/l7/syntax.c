#include "syntax.h"

#include <string.h>

/* Sixteen a line, by code. The sets are spelled out in tests/c/test_http.c, which compares. */
/* clang-format off */
const uint8_t lb_chars[256] = {
     0,  0,  0,  0,  0,  0,  0,  0,  0,  2,  0,  0,  0,  0,  0,  0,
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
     2, 15,  6,  3, 15, 15, 15, 15, 14, 14, 15, 15, 14, 31, 31,  6,
    31, 31, 31, 31, 31, 31, 31, 31, 31, 31,  6, 14,  6, 14,  6,  6,
     6, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31,
    31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31,  6,  6,  6,  7, 31,
     7, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31,
    31, 31, 31, 31, 31, 31, 31, 31, 31, 31, 31,  6,  7,  6, 31,  0,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
};

/* Eight bytes at once; no sum leaves its byte. */
static uint64_t lower_eight(uint64_t word)
{
    uint64_t low = word & LB_EACH(0x7f);
    uint64_t capitals = (low + LB_EACH(0x80 - 'A')) & ~(low + LB_EACH(0x7f - 'Z')) & ~word & LB_EACH(0x80);
    return word | capitals >> 2;
}

static uint64_t eight_at(const char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, sizeof word);
    return word;
}

int lb_same_letters(const char *a, const char *b, uint32_t length)
{
    uint32_t at = 0;
    for (; length - at >= 8; at += 8)
        if (lower_eight(eight_at(a + at)) != eight_at(b + at))
            return 0;
    if (length > 8) /* the last eight, some of them for the second time */
        return lower_eight(eight_at(a + length - 8)) == eight_at(b + length - 8);
    for (; at < length; at++)
        if (lb_lower(a[at]) != b[at])
            return 0;
    return 1;
}

void lb_lower_letters(char *to, const char *from, uint32_t length)
{
    uint32_t at = 0;
    for (; length - at >= 8; at += 8) {
        uint64_t word = lower_eight(eight_at(from + at));
        memcpy(to + at, &word, sizeof word);
    }
    for (; at < length; at++)
        to[at] = lb_lower(from[at]);
}
