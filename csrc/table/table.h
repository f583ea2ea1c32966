/* The control plane's pen: every change of rows goes through here. One writer at a time. */
#ifndef LB_TABLE_H
#define LB_TABLE_H

#include "shm.h"

/* A backend as the control plane names it; ip holds 4 bytes for AF_INET, 16 for AF_INET6. */
struct lb_backend_spec {
    uint32_t pool;
    uint32_t weight;
    uint16_t family;
    uint16_t port;
    uint32_t scope;
    uint8_t ip[16];
    const char *address;
    const char *source;
};

/* Take a free row. Returns the generation it got, which is never given again. The row is LB_STARTING: set its state next. */
uint64_t lb_table_put(const struct lb_shm *shm, uint32_t index, const struct lb_backend_spec *spec);

/* Written in place, seen by the next pick. Publish the pool's view after them, so that schedules follow. */
void lb_table_set_state(const struct lb_shm *shm, uint32_t index, uint32_t state, const char *reason);
void lb_table_set_weight(const struct lb_shm *shm, uint32_t index, uint32_t weight);
void lb_table_set_load(const struct lb_shm *shm, uint32_t index, float load); /* 0..1; negative: unknown */

/* Give the row back. The caller has seen that no worker reports a session on it. */
void lb_table_free(const struct lb_shm *shm, uint32_t index);

void lb_table_set_listener(const struct lb_shm *shm, uint32_t index, const struct lb_listener_row *row);

/* Replaces all but the current view. */
void lb_table_set_pool(const struct lb_shm *shm, uint32_t index, const struct lb_pool_row *row);

/* Publish routes (struct lb_routes_head and what follows): 0, or -E2BIG. */
__attribute__((warn_unused_result)) int lb_table_set_routes(const struct lb_shm *shm, const void *bytes, uint64_t count);

/* The supervisor, after a worker's death: its sessions are lost; settle its counters and its in-flight figures. */
void lb_table_bury_worker(const struct lb_shm *shm, uint32_t worker);

#endif
