/* SHA-256 (FIPS 180-4), for what is compared with digests. */
#ifndef LB_SHA256_H
#define LB_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { LB_SHA256_BYTES = 32 };

struct lb_sha256 {
    uint32_t state[8];
    uint64_t count; /* bytes so far */
    uint8_t block[64];
};

void lb_sha256_open(struct lb_sha256 *sha);
void lb_sha256_add(struct lb_sha256 *sha, const void *bytes, size_t count);
void lb_sha256_close(struct lb_sha256 *sha, uint8_t digest[LB_SHA256_BYTES]);

/* Are two digests the same? In a time that does not depend on them. */
static inline int lb_sha256_same(const uint8_t one[LB_SHA256_BYTES], const uint8_t other[LB_SHA256_BYTES])
{
    volatile uint8_t differs = 0;
    for (int i = 0; i < LB_SHA256_BYTES; i++)
        differs = (uint8_t)(differs | (one[i] ^ other[i]));
    return !differs;
}

#endif
