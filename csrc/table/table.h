/* The control plane's pen: every change of rows goes through here. One writer at a time. */
#ifndef LB_TABLE_H
#define LB_TABLE_H

#include "shm.h"

/* A backend as the control plane names it; ip holds 4 bytes for AF_INET, 16 for AF_INET6, none for AF_UNIX. */
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

/* Written in place, seen by the next pick. Publish the pool's view after them, so that schedules follow. A row that turns LB_GONE, or
 * LB_DOWN in a pool with cuts_down, raises head->cuts: workers end its sessions, those too that were picked a moment before. */
void lb_table_set_state(const struct lb_shm *shm, uint32_t index, uint32_t state, const char *reason);
void lb_table_set_weight(const struct lb_shm *shm, uint32_t index, uint32_t weight);

/* Publish the pool's view after this, too. */
void lb_table_set_tier(const struct lb_shm *shm, uint32_t index, uint32_t tier);

/* What the backend reports: load 0..1, negative: unknown; elsewhere: what it has under way that did not come from here, 0: nothing. */
void lb_table_set_load(const struct lb_shm *shm, uint32_t index, float load, float elsewhere);

/* Slow start: its share grows from nothing to all within ramp_ms of from_ms (monotonic, low 32 bits); 0: it has all of it. */
void lb_table_set_ramp(const struct lb_shm *shm, uint32_t index, uint32_t from_ms, uint32_t ramp_ms);

/* For those who look only: is it up because nobody is better, what is known of it beside its state (enum lb_known), the processes that
 * registered it (255 at most), the declared capacity (0: none), and when a leaving row's sessions are cut (0: it stays). */
void lb_table_set_kept(const struct lb_shm *shm, uint32_t index, int kept);
void lb_table_set_known(const struct lb_shm *shm, uint32_t index, uint32_t known);
void lb_table_set_instances(const struct lb_shm *shm, uint32_t index, uint32_t instances);
void lb_table_set_capacity(const struct lb_shm *shm, uint32_t index, float capacity);
void lb_table_set_leaves(const struct lb_shm *shm, uint32_t index, uint64_t leaves_ms);

/* Give the row back. The caller has seen that no worker reports a session on it. */
void lb_table_free(const struct lb_shm *shm, uint32_t index);

void lb_table_set_listener(const struct lb_shm *shm, uint32_t index, const struct lb_listener_row *row);

/* Replaces all but the current view and the outage. */
void lb_table_set_pool(const struct lb_shm *shm, uint32_t index, const struct lb_pool_row *row);

/* For those who look only: no backend of the pool is usable; a worker's section belongs to one that does not turn. */
void lb_table_set_outage(const struct lb_shm *shm, uint32_t pool, int outage);
void lb_table_set_hanging(const struct lb_shm *shm, uint32_t worker, int hangs);

/* Add to what the control plane counts of itself. Any of its threads. */
void lb_table_count(const struct lb_shm *shm, enum lb_count which, uint64_t n);

/* Fill or free a model's row: its figures go with the tenant. */
void lb_table_set_model(const struct lb_shm *shm, uint32_t index, const struct lb_model_row *row);

/* Publish routes (struct lb_routes_head and what follows): 0, or -E2BIG. */
__attribute__((warn_unused_result)) int lb_table_set_routes(const struct lb_shm *shm, const void *bytes, uint64_t count);

/* Rows whose texts a writer left half written, when it died, can be read again. For whoever takes its place. */
void lb_table_mend(const struct lb_shm *shm);

/* The supervisor, after a worker's death: its sessions are lost; settle its counters and its in-flight figures. */
void lb_table_bury_worker(const struct lb_shm *shm, uint32_t worker);

#endif
