/* The segment: its size, its birth, its checks, and where its parts lie. */
#ifndef LB_SHM_H
#define LB_SHM_H

#include <stdint.h>

#include "../layout/words.h" /* in this order */
#include "../layout/segment.h"
#include "../layout/figures.h"

#define LB_MAGIC UINT64_C(0x6c62636f72653031) /* "lbcore01" */

/* How many rows of each kind a new segment has room for. */
struct lb_limits {
    uint32_t listeners;
    uint32_t pools;
    uint32_t backends;
    uint32_t workers; /* 1 .. LB_MAX_WORKERS */
};

/* A mapped segment with its parts found. Plain pointers into the mapping; owns nothing. */
struct lb_shm {
    struct lb_head *head;
    struct lb_listener_row *listeners;
    struct lb_pool_row *pools;
    struct lb_backend_row *backends;
    struct lb_client *clients;
    struct lb_key_row *keys; /* LB_KEYS */
    uint64_t *prefixes;      /* LB_PREFIX_TABLES times LB_PREFIXES slots: table/prefixes.c */
    struct lb_home *homes;   /* by backend */
    float *
        costs; /* cost of one session on a backend: 1 / (weight x (1 - load)); infinite when it takes none; negative when there is
                   * more to it in its row: it is ramping up, or has work from elsewhere */
};

/* Bytes that a segment of these limits takes; 0 if a limit is out of range. */
uint64_t lb_shm_bytes(const struct lb_limits *limits);

/* Write an empty table into zeroed memory of lb_shm_bytes(limits) bytes. */
__attribute__((warn_unused_result)) int lb_shm_create(void *memory, const struct lb_limits *limits);

/* Find the parts of a segment; -EINVAL if it is foreign, of another layout or damaged. */
__attribute__((warn_unused_result)) int lb_shm_attach(struct lb_shm *shm, void *memory, uint64_t bytes);

struct lb_view *lb_shm_view(const struct lb_shm *shm, uint32_t pool, uint32_t which);
uint32_t *lb_shm_members(const struct lb_shm *shm, struct lb_view *view);
uint32_t *lb_shm_slots(const struct lb_shm *shm, struct lb_view *view);

/* One of the two copies of the routes: LB_ROUTES_BYTES. */
void *lb_shm_routes(const struct lb_shm *shm, uint32_t which);

/* One of LB_MODELS. */
struct lb_model_row *lb_shm_model(const struct lb_shm *shm, uint32_t model);

struct lb_worker_row *lb_shm_worker(const struct lb_shm *shm, uint32_t worker);
struct lb_budget *lb_shm_budget(const struct lb_shm *shm, uint32_t worker, uint32_t pool);
struct lb_backend_health *lb_shm_health(const struct lb_shm *shm, uint32_t worker, uint32_t backend);
uint32_t *lb_shm_active(const struct lb_shm *shm, uint32_t worker);
uint32_t *lb_shm_charged(const struct lb_shm *shm, uint32_t worker);
uint32_t *lb_shm_counted(const struct lb_shm *shm, uint32_t worker);
struct lb_decision *lb_shm_decision(const struct lb_shm *shm, uint32_t worker, uint64_t number);
struct lb_way_row *lb_shm_way(const struct lb_shm *shm, uint32_t worker, uint64_t number);
struct lb_histogram *lb_shm_timing(const struct lb_shm *shm, uint32_t worker, uint32_t pool, enum lb_timing timing);
struct lb_tally *lb_shm_listener_tally(const struct lb_shm *shm, uint32_t worker, uint32_t listener);
struct lb_tally *lb_shm_pool_tally(const struct lb_shm *shm, uint32_t worker, uint32_t pool);
struct lb_tally *lb_shm_model_tally(const struct lb_shm *shm, uint32_t worker, uint32_t model);

/* How long a model's requests took, as LB_TIMING_REQUEST has it. */
struct lb_histogram *lb_shm_model_timing(const struct lb_shm *shm, uint32_t worker, uint32_t model);
struct lb_record *lb_shm_record(const struct lb_shm *shm, uint32_t worker, uint64_t number);

/* Sections that count: workers, and pickers as far as any has joined. */
uint32_t lb_shm_sections(const struct lb_shm *shm);

/* Sessions on a backend, and what they cost, summed over the sections. */
uint32_t lb_shm_in_flight(const struct lb_shm *shm, uint32_t backend);
uint32_t lb_shm_charge(const struct lb_shm *shm, uint32_t backend);

/* Are sessions and connections of this backend to be ended? It is gone, or down in a pool that cuts them then. */
static inline int lb_shm_is_cut(const struct lb_shm *shm, uint32_t backend)
{
    const struct lb_backend_row *row = &shm->backends[backend];
    uint32_t state = __atomic_load_n(&row->state, __ATOMIC_ACQUIRE);
    return state == LB_GONE || (state == LB_DOWN && __atomic_load_n(&shm->pools[row->pool].cuts_down, __ATOMIC_RELAXED));
}

/* Add to a counter that only this thread writes and others read. */
static inline void lb_add(uint64_t *counter, uint64_t n)
{
    __atomic_store_n(counter, *counter + n, __ATOMIC_RELAXED);
}

#endif
