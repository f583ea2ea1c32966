#include "trace.h"

/* Of 2 x bytes digits in lower case (3.2.2.3: upper case is not allowed): is it so? */
static int read_hex(const char *at, size_t digits, uint64_t *value)
{
    *value = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = at[i];
        if (c >= '0' && c <= '9')
            *value = *value << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            *value = *value << 4 | (uint64_t)(c - 'a' + 10);
        else
            return 0;
    }
    return 1;
}

int lb_trace_read(struct lb_trace *trace, const char *value, size_t length)
{
    uint64_t version, flags;
    if (length < LB_TRACE_BYTES || value[2] != '-' || value[35] != '-' || value[52] != '-')
        return 0;
    if (!read_hex(value, 2, &version) || version == 0xff)
        return 0;
    if (version == 0 ? length != LB_TRACE_BYTES : length > LB_TRACE_BYTES && value[LB_TRACE_BYTES] != '-')
        return 0;
    if (!read_hex(value + 3, 16, &trace->id[0]) || !read_hex(value + 19, 16, &trace->id[1]) ||
        !read_hex(value + 36, 16, &trace->span) || !read_hex(value + 53, 2, &flags))
        return 0;
    trace->flags = (uint8_t)flags;
    return (trace->id[0] || trace->id[1]) && trace->span;
}

static char *put_hex(char *to, uint64_t value, int digits)
{
    for (int shift = 4 * digits - 4; shift >= 0; shift -= 4)
        *to++ = "0123456789abcdef"[value >> shift & 15];
    return to;
}

char *lb_trace_write(char *to, const struct lb_trace *trace)
{
    *to++ = '0';
    *to++ = '0';
    *to++ = '-';
    to = put_hex(to, trace->id[0], 16);
    to = put_hex(to, trace->id[1], 16);
    *to++ = '-';
    to = put_hex(to, trace->span, 16);
    *to++ = '-';
    return put_hex(to, trace->flags & LB_TRACE_SAMPLED, 2); /* of other bits we know nothing (4.2) */
}
