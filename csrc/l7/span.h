/* A stretch of bytes in a buffer, by offset: it survives the buffer's being moved. */
#ifndef LB_SPAN_H
#define LB_SPAN_H

#include <stdint.h>
#include <string.h>

#include "syntax.h"

struct lb_span {
    uint32_t at;
    uint32_t length;
};

static inline int lb_same(const char *a, uint32_t a_length, const char *b, uint32_t b_length)
{
    return a_length == b_length && memcmp(a, b, a_length) == 0;
}

/* Equal but for case; b is in lower case. */
static inline int lb_same_word(const char *a, uint32_t a_length, const char *b, uint32_t b_length)
{
    return a_length == b_length && lb_same_letters(a, b, a_length);
}

#endif
