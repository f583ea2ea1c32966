/* Maglev's lookup table (Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, 3.4): every
 * balancer that knows the same names builds the same table, and a backend that leaves moves hardly more than its own keys. */
#ifndef LB_MAGLEV_H
#define LB_MAGLEV_H

#include <stdint.h>

#ifndef LB_MAGLEV_SLOTS           /* python -m bench.maglev measures other sizes, too */
enum { LB_MAGLEV_SLOTS = 65521 }; /* a prime; the paper's choice is 65537, the room is 65536 */
#endif

/* Fill LB_MAGLEV_SLOTS slots with members in proportion to their weights (each >= 1). names: a hash of what a member is called,
 * the same everywhere. Returns the number of slots, or -ENOMEM. */
__attribute__((warn_unused_result)) int64_t lb_maglev_build(const uint32_t *members, const uint32_t *weights,
                                                            const uint64_t *names, uint32_t count, uint32_t *slots);

#endif
