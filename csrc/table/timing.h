/* How long things took, in log-linear buckets (as HdrHistogram has them): sixteen to each power of two. */
#ifndef LB_TIMING_H
#define LB_TIMING_H

#include "shm.h"

/* The bucket of so many microseconds. */
static inline uint32_t lb_timing_bucket(uint64_t us)
{
    if (us < 16)
        return (uint32_t)us;
    uint32_t exponent = 63 - (uint32_t)__builtin_clzll(us);
    uint32_t bucket = (exponent - 3) << 4 | ((uint32_t)(us >> (exponent - 4)) & 15);
    return bucket < LB_TIMING_BUCKETS ? bucket : LB_TIMING_BUCKETS - 1;
}

/* The least microseconds that are in a bucket: where the one before it ends. */
static inline uint64_t lb_timing_begin_us(uint32_t bucket)
{
    return bucket < 16 ? bucket : (uint64_t)(16 + bucket % 16) << (bucket / 16 - 1);
}

/* Note that something of this pool took so long. */
void lb_timing_note(const struct lb_shm *shm, uint32_t worker, uint32_t pool, enum lb_timing timing, uint64_t us);

#endif
