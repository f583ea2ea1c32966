#include "held_body.h"

#include <string.h>

char *lb_h2_put(char *to, const void *bytes, size_t count)
{
    memcpy(to, bytes, count);
    return to + count;
}

char *lb_h2_put_size(char *to, uint32_t size)
{
    static const char digits[] = "0123456789abcdef";
    int shift = 28;
    while (shift && !(size >> shift))
        shift -= 4;
    for (; shift >= 0; shift -= 4)
        *to++ = digits[size >> shift & 15];
    return lb_h2_put(to, "\r\n", 2);
}

char *lb_h2_move_held(struct lb_worker_context *ctx, struct lb_flow *in, char *to, uint32_t count, int chunks)
{
    if (chunks)
        to = lb_h2_put_size(to, count);
    to = lb_h2_put(to, lb_sendq_bytes(ctx, in), count);
    if (chunks)
        to = lb_h2_put(to, "\r\n", 2);
    lb_sendq_used(ctx, in, count);
    return to;
}
