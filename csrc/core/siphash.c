#include "siphash.h"

#include <string.h>

struct state {
    uint64_t a, b, c, d;
};

static inline uint64_t rotate(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void mix(struct state *s, int rounds)
{
    for (int i = 0; i < rounds; i++) {
        s->a += s->b;
        s->b = rotate(s->b, 13) ^ s->a;
        s->a = rotate(s->a, 32);
        s->c += s->d;
        s->d = rotate(s->d, 16) ^ s->c;
        s->a += s->d;
        s->d = rotate(s->d, 21) ^ s->a;
        s->c += s->b;
        s->b = rotate(s->b, 17) ^ s->c;
        s->c = rotate(s->c, 32);
    }
}

/* Up to eight bytes, the first lowest. */
static inline uint64_t word(const uint8_t *bytes, size_t count)
{
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++)
        value |= (uint64_t)bytes[i] << (8 * i);
    return value;
}

static inline void absorb(struct state *s, uint64_t value)
{
    s->d ^= value;
    mix(s, 2);
    s->a ^= value;
}

uint64_t lb_siphash(const uint8_t key[16], const void *bytes, size_t count)
{
    const uint8_t *at = bytes;
    uint64_t low = word(key, 8), high = word(key + 8, 8);
    struct state s = {low ^ UINT64_C(0x736f6d6570736575), high ^ UINT64_C(0x646f72616e646f6d), low ^ UINT64_C(0x6c7967656e657261),
                      high ^ UINT64_C(0x7465646279746573)};
    size_t left = count;
    for (; left >= 8; left -= 8, at += 8)
        absorb(&s, word(at, 8));
    absorb(&s, word(at, left) | (uint64_t)count << 56);
    s.c ^= 0xff;
    mix(&s, 4);
    return s.a ^ s.b ^ s.c ^ s.d;
}
