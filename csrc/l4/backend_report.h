/* What a worker makes of its backends: their addresses, its attempts at them, and what came of these. */
#ifndef LB_BACKEND_REPORT_H
#define LB_BACKEND_REPORT_H

#include "../core/net.h"
#include "worker_context.h"

/* This worker's health of a backend, fresh if the row has a new tenant. */
struct lb_backend_health *lb_report_of(struct lb_worker_context *ctx, uint32_t backend);

/* Where it listens. */
void lb_backend_destination(const struct lb_backend_row *row, struct lb_destination *to);

/* What Host says where a request names no host: HOST:PORT; localhost for a unix socket, as in nginx. */
const char *lb_backend_authority(const struct lb_backend_row *row);

/* A connect succeeded, and took so long. */
void lb_report_connected(struct lb_worker_context *ctx, uint32_t pool, uint32_t backend, uint32_t took_us);

/* A connect failed. Failures in a row are reported at the pool's max_connect_failures. */
void lb_report_unreachable(struct lb_worker_context *ctx, uint32_t pool, uint32_t backend, int error);

/* An exchange got a good response, or it failed: with a status of 500 and more, or 0 for a response that never came or broke off. Those
 * without a response, and those of the pool's failed_statuses, are reported at max_failed_responses in a row. */
void lb_report_responded(struct lb_worker_context *ctx, uint32_t backend, uint32_t took_us);
void lb_report_failed(struct lb_worker_context *ctx, uint32_t pool, uint32_t backend, uint32_t status);

/* Does the pool count this status of a response towards max_failed_responses? */
int lb_is_failed_status(const struct lb_pool_row *pool, uint32_t status);

/* A connect could not be made for want of something here (core/shortage.h): counted and told, and nothing is said of the backend. */
void lb_report_shortage(struct lb_worker_context *ctx, uint32_t backend, int error);

/* Is the socket of a backend that has not proven itself connected to itself? */
int lb_report_is_self(struct lb_worker_context *ctx, uint32_t backend, int fd);

#endif
