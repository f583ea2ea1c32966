/* Addresses as 16 bytes: IPv4 is mapped into IPv6 (RFC 4291 2.5.5.2). */
#ifndef LB_IP_H
#define LB_IP_H

#include <stdint.h>
#include <string.h>

static const uint8_t lb_ip_mapped[12] = {[10] = 0xff, [11] = 0xff};

static inline int lb_ip_is_v4(const uint8_t ip[16])
{
    return memcmp(ip, lb_ip_mapped, sizeof lb_ip_mapped) == 0;
}

static inline void lb_ip_from_v4(uint8_t ip[16], const void *v4)
{
    memcpy(ip, lb_ip_mapped, sizeof lb_ip_mapped);
    memcpy(ip + sizeof lb_ip_mapped, v4, 4);
}

/* How many of its bytes tell one customer from another: of IPv6, the first 64 bits are what one is given (RFC 6177). */
static inline uint32_t lb_ip_customer_bytes(const uint8_t ip[16])
{
    return lb_ip_is_v4(ip) ? 16 : 8;
}

#endif
