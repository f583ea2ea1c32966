/* How a pool picks. Pure: a choice is read, an index comes back; no lock, no clock, no parsing. */
#ifndef LB_POLICY_H
#define LB_POLICY_H

#include <stddef.h>

#include "choice.h"

/* Pick a usable, untried backend row by an enum lb_policy, or LB_NONE.
 *
 * round_robin  the next slot of the schedule
 * random       any slot of it
 * p2c          two slots, the one with fewer sessions per weight (Mitzenmacher, "The Power of Two Choices", 2001)
 * least_conn   the fewest sessions per weight of all members; the schedule decides among equals
 *
 * ewma         two slots, the one with the lower peak EWMA of latency x (what is under way + 1) per weight (Twitter's Finagle): a
 *              slow response counts at once, and is forgotten with a half-life of seven seconds (and seven times its latency)
 * maglev       the slot that the key falls into (table/maglev.h); another one by a second hash when that backend has more than
 *              1.25 of its share under way (Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018)
 *
 * The reserve is asked only when no member can be had and none is merely full: each of them is gone, or was tried. It is searched in the
 * order of its tiers. So a session reaches a backup on its retry, before the verdict on the last member makes a view of backups.
 *
 * In all of them a backend in slow start takes only a growing share of the turns that fall to it (of maglev's: of its keys), and what
 * is under way counts by its cost, with what the backend reports from elsewhere. A backend with max_active under way is not usable. Reads at most a few rows, but least_conn all members. A torn view gives a wrong choice, never a wild index. */
uint32_t lb_policy_pick(uint32_t policy, const struct lb_choice *choice, struct lb_cursor *cursor);

/* Does a backend take sessions, and has this wish not tried it? It may still be full. */
int lb_policy_takes_sessions(const struct lb_shm *shm, const struct lb_wish *wish, uint32_t backend);

/* The hash of what a key or a request's own bytes are kept together by: the same for a request and for a pick without the proxy. */
uint64_t lb_policy_key(const void *bytes, size_t count);

/* Take a latency into the peak EWMA of an health. */
void lb_policy_observe(struct lb_backend_health *health, uint32_t latency_us, uint32_t now_ms);

#endif
