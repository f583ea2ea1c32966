#include "proxy_wire.h"

const uint8_t lb_proxy_signature[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

uint32_t lb_proxy_bytes_of_ends(int family)
{
    switch (family) {
    case V2_INET:
        return 2 * 4 + 2 * 2;
    case V2_INET6:
        return 2 * 16 + 2 * 2;
    case V2_UNIX:
        return 2 * 108;
    default:
        return 0;
    }
}

/* A header is short, and few have one: bit by bit will do. */
uint32_t lb_proxy_checksum(const uint8_t *data, uint32_t count, uint32_t field)
{
    uint32_t crc = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        crc ^= i >= field && i < field + CRC_BYTES ? 0 : data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return ~crc;
}
