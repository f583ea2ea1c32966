/* What limits of routes know of each key: when its next request may come. One table for all workers, of fixed size.
 *
 * A key is a keyed hash: what it stands for, such as an API key, is kept nowhere. It may be in one of eight rows. A row that owes no time
 * says nothing, and is anybody's; where all eight owe, the one that owes least is forgotten. So whoever brings very many keys makes limits
 * milder, and locks nobody out: a key is never refused for what others did. Which keys share rows nobody can choose, since the hash is
 * secret. */
#ifndef LB_KEYS_H
#define LB_KEYS_H

#include <stddef.h>

#include "shm.h"

/* Up to `burst` at once, then one each step_ns. */
struct lb_rate {
    uint64_t step_ns;
    uint32_t burst; /* at least 1 */
};

/* The hash of a key of a limit. limit: no other has the same. */
uint64_t lb_key_hash(const struct lb_shm *shm, uint64_t limit, uint32_t kind, const void *bytes, size_t count);

/* A request of this key: 0: it is counted, or seconds after which it may come again, rounded up. */
uint32_t lb_key_asks(const struct lb_shm *shm, uint32_t worker, uint64_t key, const struct lb_rate *rate, uint64_t now_us);

#endif
