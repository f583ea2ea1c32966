/* How a pool picks. Pure: a choice is read, an index comes back; no lock, no clock, no parsing. */
#ifndef LB_POLICY_H
#define LB_POLICY_H

#include <stdint.h>

#include "shm.h"

enum { LB_NONE = UINT32_MAX, LB_MAX_TRIED = 8 };

/* What a worker remembers between picks of one pool. */
struct lb_cursor {
    uint64_t seed; /* of xorshift64*; never 0 */
    uint32_t turn; /* next slot of the schedule */
};

/* One decision: whom to choose from, and whom not. */
struct lb_choice {
    const struct lb_shm *shm;
    const uint32_t *members;
    const uint32_t *slots;
    uint32_t member_count;
    uint32_t slot_count;
    const uint32_t *tried; /* backends that this session has tried */
    uint32_t tried_count;
};

/* Pick a usable, untried backend row by an enum lb_policy, or LB_NONE.
 *
 * round_robin  the next slot of the schedule
 * random       any slot of it
 * p2c          two slots, the one with fewer sessions per weight (Mitzenmacher, "The Power of Two Choices", 2001)
 * least_conn   the fewest sessions per weight of all members; the schedule decides among equals
 *
 * Reads at most a few rows, but least_conn all members. A torn view gives a wrong choice, never a wild index. */
uint32_t lb_policy_pick(uint32_t policy, const struct lb_choice *choice, struct lb_cursor *cursor);

#endif
