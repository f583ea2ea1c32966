/* How fast something may come: the generic cell rate algorithm (ITU-T I.371). `when` is the time, in ns of a monotonic clock, at which all
 * that came would have come evenly; several workers share it. */
#ifndef LB_PACE_H
#define LB_PACE_H

#include <stdint.h>

#define LB_SECOND_NS UINT64_C(1000000000)

/* So long in whole seconds, rounded up. */
static inline uint32_t lb_pace_seconds(uint64_t ns)
{
    return (uint32_t)((ns + LB_SECOND_NS - 1) / LB_SECOND_NS);
}

/* May one more come that takes step_ns, where so much may come early? 0: it is counted, else nanoseconds until it may. */
static inline uint64_t lb_pace_take(uint64_t *when, uint64_t now_ns, uint64_t step_ns, uint64_t early_ns)
{
    uint64_t seen = __atomic_load_n(when, __ATOMIC_RELAXED), from;
    do {
        from = seen > now_ns ? seen : now_ns;
        if (from - now_ns > early_ns)
            return from - now_ns - early_ns;
    } while (!__atomic_compare_exchange_n(when, &seen, from + step_ns, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
    return 0;
}

#endif
