/* The PROXY protocol on the wire, as far as its reader (proxy_read.c) and its writer (proxy_write.c) share it: version 2. */
#ifndef LB_PROXY_WIRE_H
#define LB_PROXY_WIRE_H

#include <stdint.h>

enum {
    V2_START = 16, /* bytes before the addresses */
    V2_VERSION = 0x20,
    V2_LOCAL = 0,
    V2_PROXY = 1,
    V2_INET = 1,
    V2_INET6 = 2,
    V2_UNIX = 3,
    V2_NO_PROTOCOL = 0,
    V2_STREAM = 1,
    V2_DGRAM = 2,
};

enum { /* 2.2 */
       TYPE_ALPN = 0x01,
       TYPE_AUTHORITY = 0x02,
       TYPE_CRC32C = 0x03,
       TYPE_UNIQUE_ID = 0x05,
       TYPE_SSL = 0x20,
       SUBTYPE_SSL_VERSION = 0x21,
       SUBTYPE_SSL_CN = 0x22,
       CLIENT_SSL = 0x01,
       CLIENT_CERT_SESS = 0x04,
       TLV_START = 3, /* bytes of type and length */
       SSL_START = 5, /* of client and verify */
       CRC_BYTES = 4,
       UNIQUE_ID_MOST = 128,
};

/* Both ends, the source first. IPv4 takes the first four bytes. */
struct lb_proxy_ends {
    uint8_t ip[2][16];
    uint16_t port[2];
};

/* What a header of version 2 begins with. */
extern const uint8_t lb_proxy_signature[12];

/* Bytes of both ends in one of the families above. */
uint32_t lb_proxy_bytes_of_ends(int family);

/* CRC32C (2.2.3, RFC 4960 appendix B) of a header whose own checksum is at `field`, and counts as zero. */
uint32_t lb_proxy_checksum(const uint8_t *data, uint32_t count, uint32_t field);

static inline uint32_t lb_proxy_get_16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static inline uint32_t lb_proxy_get_32(const uint8_t *at)
{
    return lb_proxy_get_16(at) << 16 | lb_proxy_get_16(at + 2);
}

static inline void lb_proxy_set_16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static inline void lb_proxy_set_32(uint8_t *at, uint32_t value)
{
    lb_proxy_set_16(at, value >> 16);
    lb_proxy_set_16(at + 2, value);
}

#endif
