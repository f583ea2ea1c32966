#include "base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int lb_base64_value(char c, const char last[2])
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == last[0] ? 62 : c == last[1] ? 63 : -1;
}

static int take_padding(struct lb_base64 *base64)
{
    if (base64->place < 2)
        return -1;
    base64->ends = base64->place == 2;
    base64->place = base64->place == 2 ? 3 : 0;
    base64->bits = 0;
    return 0;
}

int64_t lb_base64_read(struct lb_base64 *base64, char *bytes, uint32_t count)
{
    char *to = bytes;
    for (uint32_t i = 0; i < count; i++) {
        if (bytes[i] == '=') {
            if (take_padding(base64) < 0)
                return -1;
            continue;
        }
        int value = base64->ends ? -1 : lb_base64_value(bytes[i], "+/");
        if (value < 0)
            return -1;
        base64->bits = base64->bits << 6 | (uint32_t)value;
        if (base64->place) /* no character brings more than one byte: none is overwritten before it is read */
            *to++ = (char)(base64->bits >> (6 - 2 * base64->place));
        base64->place = (uint8_t)((base64->place + 1) & 3);
    }
    return to - bytes;
}

uint32_t lb_base64_length(uint32_t count)
{
    return (count + 2) / 3 * 4;
}

/* What is still to be read lies behind what is written: a group of four is written where three were read, and there are as many bytes between
 * the two as there are groups to come. */
char *lb_base64_write(char *to, uint32_t count)
{
    const unsigned char *from = (const unsigned char *)to + lb_base64_length(count) - count;
    for (; count >= 3; count -= 3, from += 3) {
        uint32_t bits = (uint32_t)from[0] << 16 | (uint32_t)from[1] << 8 | from[2];
        for (int shift = 18; shift >= 0; shift -= 6)
            *to++ = digits[bits >> shift & 63];
    }
    if (!count)
        return to;
    uint32_t bits = (uint32_t)from[0] << 16 | (count == 2 ? (uint32_t)from[1] << 8 : 0);
    *to++ = digits[bits >> 18 & 63];
    *to++ = digits[bits >> 12 & 63];
    *to++ = count == 2 ? digits[bits >> 6 & 63] : '=';
    *to++ = '=';
    return to;
}
