#include "forward.h"

#include <arpa/inet.h>
#include <string.h>

#include "../core/ip.h"
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

int lb_forward_has_address(const uint8_t ip[16])
{
    static const uint8_t none[16];
    return memcmp(ip, none, sizeof none) != 0;
}

/* inet_ntop goes through sprintf for each number: too slow for every request. */
static char *put_v4(char *to, const uint8_t ip[4])
{
    for (int i = 0; i < 4; i++) {
        if (ip[i] >= 100)
            *to++ = (char)('0' + ip[i] / 100);
        if (ip[i] >= 10)
            *to++ = (char)('0' + ip[i] / 10 % 10);
        *to++ = (char)('0' + ip[i] % 10);
        *to++ = '.';
    }
    return to - 1;
}

char *lb_forward_write_address(char *to, const uint8_t ip[16])
{
    if (lb_ip_is_v4(ip))
        return put_v4(to, ip + 12);
    (void)inet_ntop(AF_INET6, ip, to, LB_FORWARD_ADDRESS);
    return to + strlen(to);
}
