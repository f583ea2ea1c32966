/* What is learnt of a backend, from connects and answers, into the outcome of whoever saw it: a worker, or a process that picks. */
#ifndef LB_LEARN_H
#define LB_LEARN_H

#include "shm.h"

/* A section's outcome of a backend. *fresh: the row has a new tenant, nothing is known yet. */
struct lb_outcome *lb_learn_of(const struct lb_shm *shm, uint32_t section, uint32_t backend, int *fresh);

/* A connection to it was made. */
void lb_learn_connected(struct lb_outcome *outcome, uint64_t now_ms);

/* It was reached, and took so long; or it answered an exchange well. */
void lb_learn_reached(struct lb_outcome *outcome, uint32_t took_us, uint64_t now_ms);
void lb_learn_answered(struct lb_outcome *outcome, uint32_t took_us, uint64_t now_ms);

/* It could not be reached; or it failed an exchange, status 0: without an answer. */
void lb_learn_unreachable(struct lb_outcome *outcome, int error);
void lb_learn_unanswered(struct lb_outcome *outcome, uint32_t status);

/* It answered an exchange with an error that does not count towards the pool's max_failed_responses, and ends a row of those. */
void lb_learn_error(struct lb_outcome *outcome);

#endif
