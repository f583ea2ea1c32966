/* Backends that may be stopping: others are preferred until one proves that it serves (table/avoid.h). */
#ifndef LB_SUSPECT_H
#define LB_SUSPECT_H

#include "../l4/worker_context.h"

enum { LB_KEPT_SURELY_MS = 1000 }; /* no server is known to close idle connections so soon that keeps them at all */

void lb_suspect(struct lb_worker_context *ctx, uint32_t backend);

/* A backend has closed an idle connection, after so many exchanges; `left` others are still open. */
void lb_suspect_idle_end(struct lb_worker_context *ctx, uint32_t backend, uint32_t exchanges, uint32_t idle_ms, uint32_t left);

#endif
