#include "forward.h"

#include "claim_headers.h"

int lb_forward_believes(const struct lb_forward *forward, const char *name, uint32_t length)
{
    return forward->trusted || lb_claim_header_listed((const char *)forward->listener->passed_headers, name, length);
}

char *lb_forward_write_id(char *to, const uint64_t id[2])
{
    static const char digits[] = "0123456789abcdef";
    for (int half = 0; half < 2; half++)
        for (int shift = 60; shift >= 0; shift -= 4)
            *to++ = digits[id[half] >> shift & 15];
    return to;
}

const char *lb_forward_via(int http2, uint8_t minor)
{
    return http2 ? "2.0 lbcore" : minor ? "1.1 lbcore" : "1.0 lbcore";
}
