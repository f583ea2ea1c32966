/* The order in which a pool's members take turns: an array in which each index stands as often as its weight says. */
#ifndef LB_SCHEDULE_H
#define LB_SCHEDULE_H

#include <stdint.h>

/* Fill slots with members, each weights[i] times (all divided by their common divisor; scaled down, none to nothing, when
 * they do not fit). A member's k-th turn stands at (k + 1/2) / weight of the cycle (the order of Webster's method), so that
 * no member's turns bunch. Every weight >= 1, count <= room. Returns the number of slots, or -ENOMEM. */
__attribute__((warn_unused_result)) int64_t lb_schedule_build(const uint32_t *members, const uint32_t *weights, uint32_t count,
                                                              uint32_t *slots, uint32_t room);

#endif
