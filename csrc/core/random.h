/* Random numbers that name things and spread picks. They keep no secrets. */
#ifndef LB_RANDOM_H
#define LB_RANDOM_H

#include <stdint.h>

/* The next one of xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016). state: never 0. */
static inline uint64_t lb_random_next(uint64_t *state)
{
    uint64_t x = *state;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * UINT64_C(0x2545F4914F6CDD1D);
}

#endif
