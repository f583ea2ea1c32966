#include "table.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "clients.h"
#include "prefixes.h"

static void touch(const struct lb_shm *shm)
{
    __atomic_store_n(&shm->head->generation, shm->head->generation + 1, __ATOMIC_RELEASE);
}

/* The one figure that the data path asks of a backend, kept true by every setter. */
static void price(const struct lb_shm *shm, uint32_t index)
{
    const struct lb_backend_row *row = &shm->backends[index];
    float cost = INFINITY;
    if (row->state == LB_UP && row->weight > 0) {
        /* A report is old by the time it counts, and what it counts is mostly in our own figures: one that is full weighs twice,
         * no more, or all turn to whoever was idle a heartbeat ago (python -m bench.simulate). */
        float load = row->load < 0 ? 0 : row->load > 1 ? 1 : row->load;
        cost = (1.0f + load * load) / (float)row->weight;
        if (row->ramp_ms || row->elsewhere > 0)
            cost = -cost;
    }
    __atomic_store(&shm->costs[index], &cost, __ATOMIC_RELEASE);
    touch(shm);
}

static void put_text(uint8_t *field, size_t size, const char *text)
{
    size_t length = strnlen(text, size - 1);
    memcpy(field, text, length);
    memset(field + length, 0, size - length);
}

/* Readers in other processes see an odd version while strings change, and read again. */
static void text_begin(struct lb_backend_row *row)
{
    __atomic_store_n(&row->text_version, row->text_version + 1, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void text_end(struct lb_backend_row *row)
{
    __atomic_store_n(&row->text_version, row->text_version + 1, __ATOMIC_RELEASE);
}

uint64_t lb_table_put(const struct lb_shm *shm, uint32_t index, const struct lb_backend_spec *spec)
{
    struct lb_backend_row *row = &shm->backends[index];
    row->generation = ++shm->head->row_generation;
    row->pool = spec->pool;
    row->weight = spec->weight;
    row->load = -1;
    row->elsewhere = row->capacity = 0;
    row->ramp_ms = 0;
    row->leaves_ms = 0;
    row->tier = 0;
    row->kept = row->known = row->instances = 0;
    row->family = spec->family;
    row->port = spec->port;
    row->scope = spec->scope;
    memcpy(row->ip, spec->ip, sizeof row->ip);
    text_begin(row);
    put_text(row->address, sizeof row->address, spec->address);
    put_text(row->source, sizeof row->source, spec->source);
    text_end(row);
    if (index >= shm->head->rows_used)
        __atomic_store_n(&shm->head->rows_used, index + 1, __ATOMIC_RELEASE);
    lb_table_set_state(shm, index, LB_STARTING, "");
    return row->generation;
}

static void cut(const struct lb_shm *shm)
{
    __atomic_store_n(&shm->head->cuts, shm->head->cuts + 1, __ATOMIC_RELEASE);
}

void lb_table_set_state(const struct lb_shm *shm, uint32_t index, uint32_t state, const char *reason)
{
    struct lb_backend_row *row = &shm->backends[index];
    uint32_t before = row->state;
    __atomic_store_n(&row->state, state, __ATOMIC_RELEASE);
    text_begin(row);
    put_text(row->reason, sizeof row->reason, reason);
    text_end(row);
    if (state == LB_UP && (before == LB_DOWN || before == LB_STARTING))
        lb_prefixes_forget(shm, index); /* a process that was gone has nothing cached */
    price(shm, index);                  /* before the cut: whoever sees that picks the backend no more */
    if (state != before && lb_shm_is_cut(shm, index))
        cut(shm);
}

void lb_table_set_kept(const struct lb_shm *shm, uint32_t index, int kept)
{
    shm->backends[index].kept = (uint8_t)kept;
}

void lb_table_set_tier(const struct lb_shm *shm, uint32_t index, uint32_t tier)
{
    shm->backends[index].tier = (uint8_t)(tier < LB_TIERS ? tier : LB_TIERS - 1);
}

void lb_table_set_known(const struct lb_shm *shm, uint32_t index, uint32_t known)
{
    shm->backends[index].known = (uint8_t)known;
}

void lb_table_set_instances(const struct lb_shm *shm, uint32_t index, uint32_t instances)
{
    shm->backends[index].instances = (uint8_t)(instances < UINT8_MAX ? instances : UINT8_MAX);
}

void lb_table_set_weight(const struct lb_shm *shm, uint32_t index, uint32_t weight)
{
    __atomic_store_n(&shm->backends[index].weight, weight, __ATOMIC_RELAXED);
    price(shm, index);
}

void lb_table_set_load(const struct lb_shm *shm, uint32_t index, float load, float elsewhere)
{
    __atomic_store(&shm->backends[index].load, &load, __ATOMIC_RELAXED);
    __atomic_store(&shm->backends[index].elsewhere, &elsewhere, __ATOMIC_RELAXED);
    price(shm, index);
}

void lb_table_set_ramp(const struct lb_shm *shm, uint32_t index, uint32_t from_ms, uint32_t ramp_ms)
{
    __atomic_store_n(&shm->backends[index].ramp_from_ms, from_ms, __ATOMIC_RELAXED);
    __atomic_store_n(&shm->backends[index].ramp_ms, ramp_ms, __ATOMIC_RELAXED);
    price(shm, index);
}

void lb_table_set_capacity(const struct lb_shm *shm, uint32_t index, float capacity)
{
    shm->backends[index].capacity = capacity;
}

void lb_table_set_leaves(const struct lb_shm *shm, uint32_t index, uint64_t leaves_ms)
{
    shm->backends[index].leaves_ms = leaves_ms;
}

void lb_table_free(const struct lb_shm *shm, uint32_t index)
{
    lb_table_set_state(shm, index, LB_FREE, "");
}

void lb_table_set_listener(const struct lb_shm *shm, uint32_t index, const struct lb_listener_row *row)
{
    shm->listeners[index] = *row;
    touch(shm);
}

void lb_table_set_model(const struct lb_shm *shm, uint32_t index, const struct lb_model_row *row)
{
    *lb_shm_model(shm, index) = *row;
    touch(shm);
}

void lb_table_set_pool(const struct lb_shm *shm, uint32_t index, const struct lb_pool_row *row)
{
    struct lb_pool_row *mine = &shm->pools[index];
    uint32_t cut_before = mine->cuts_down;
    struct lb_pool_row next = *row;
    next.view = mine->view;
    next.outage = mine->outage;
    *mine = next;
    if (mine->cuts_down && !cut_before)
        cut(shm);
    touch(shm);
}

void lb_table_set_outage(const struct lb_shm *shm, uint32_t pool, int outage)
{
    __atomic_store_n(&shm->pools[pool].outage, (uint32_t)outage, __ATOMIC_RELAXED);
}

void lb_table_set_hanging(const struct lb_shm *shm, uint32_t worker, int hangs)
{
    uint64_t *word = &shm->head->hanging[worker / 64], bit = UINT64_C(1) << worker % 64;
    __atomic_store_n(word, hangs ? *word | bit : *word & ~bit, __ATOMIC_RELAXED);
}

void lb_table_count(const struct lb_shm *shm, enum lb_count which, uint64_t n)
{
    __atomic_fetch_add(&shm->head->counts[which], n, __ATOMIC_RELAXED);
}

int lb_table_set_routes(const struct lb_shm *shm, const void *bytes, uint64_t count)
{
    if (count > LB_ROUTES_BYTES)
        return -E2BIG;
    uint32_t next = shm->head->routes + 1;
    memcpy(lb_shm_routes(shm, next), bytes, count);
    __atomic_store_n(&shm->head->routes, next, __ATOMIC_RELEASE);
    touch(shm);
    return 0;
}

void lb_table_bury_worker(const struct lb_shm *shm, uint32_t worker)
{
    struct lb_worker_row *row = lb_shm_worker(shm, worker);
    uint64_t lost = row->accepted - row->closed - row->refused;
    lb_add(&row->closed_lost, lost);
    lb_add(&row->closed, lost);
    lb_add(&row->requests_lost, row->requests_active);
    row->active = row->buffers = row->pipes = 0;
    row->requests_active = row->queued = row->connections_kept = row->handshakes_active = 0;
    row->http2_streams_active = row->calls_active = 0;
    row->forwards = row->forwards_asked = 0;
    row->state = LB_WORKER_ABSENT;
    lb_clients_bury(shm, worker);
    uint32_t *active = lb_shm_active(shm, worker), *charged = lb_shm_charged(shm, worker);
    for (uint32_t i = 0; i < shm->head->rows_used; i++) {
        __atomic_store_n(&active[i], 0, __ATOMIC_RELAXED);
        __atomic_store_n(&charged[i], 0, __ATOMIC_RELAXED);
    }
    for (uint32_t i = 0; i < shm->head->max_pools; i++) {
        struct lb_budget *budget = lb_shm_budget(shm, worker, i);
        __atomic_store_n(&budget->active, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&budget->queued, 0, __ATOMIC_RELAXED);
    }
}

void lb_table_mend(const struct lb_shm *shm)
{
    for (uint32_t i = 0; i < shm->head->rows_used; i++) {
        struct lb_backend_row *row = &shm->backends[i];
        if (row->text_version & 1)
            text_end(row);
    }
}
