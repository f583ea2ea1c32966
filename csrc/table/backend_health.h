/* What is learnt of a backend, from connects and responses, into the health of whoever saw it: a worker, or a process that picks. */
#ifndef LB_BACKEND_HEALTH_H
#define LB_BACKEND_HEALTH_H

#include "shm.h"

/* A section's health of a backend. *fresh: the row has a new tenant, nothing is known yet. */
struct lb_backend_health *lb_health_of(const struct lb_shm *shm, uint32_t section, uint32_t backend, int *fresh);

/* A connection to it was made. */
void lb_health_connected(struct lb_backend_health *health, uint64_t now_ms);

/* It was reached, and took so long; or it gave an exchange a good response. */
void lb_health_reached(struct lb_backend_health *health, uint32_t took_us, uint64_t now_ms);
void lb_health_responded(struct lb_backend_health *health, uint32_t took_us, uint64_t now_ms);

/* It could not be reached; or it failed an exchange, status 0: without a response. */
void lb_health_unreachable(struct lb_backend_health *health, int error);
void lb_health_failed(struct lb_backend_health *health, uint32_t status);

/* It gave an exchange an error response that does not count towards the pool's max_failed_responses, and ends a row of those. */
void lb_health_error(struct lb_backend_health *health);

#endif
