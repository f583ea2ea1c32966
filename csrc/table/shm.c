#include "shm.h"

#include <errno.h>
#include <stddef.h>

/* The layout is part of the interface between processes: a change here must raise LB_LAYOUT. */
_Static_assert(sizeof(struct lb_head) == 2240, "head");
_Static_assert(offsetof(struct lb_head, generation) == 384, "head's changing line starts a line");
_Static_assert(sizeof(struct lb_spent) == 24, "spent");
_Static_assert(sizeof(((struct lb_head *)0)->spent) / sizeof(struct lb_spent) == LB_MAX_WORKERS + 1, "spent of all");
_Static_assert(sizeof(struct lb_network) == 32, "network");
_Static_assert(sizeof(struct lb_listener_row) == 4992, "listener row");
_Static_assert(sizeof(struct lb_pool_row) == 640, "pool row");
_Static_assert(sizeof(struct lb_backend_row) == 448, "backend row");
_Static_assert(offsetof(struct lb_backend_row, address) == 64, "the data path reads one line of a backend row");
_Static_assert(sizeof(struct lb_client) == 32, "client");
_Static_assert(sizeof(struct lb_key_row) == 32, "key");
_Static_assert(sizeof(struct lb_home) == 64, "home");
_Static_assert(sizeof(struct lb_view) == 64, "view");
_Static_assert(sizeof(struct lb_routes_head) == 72, "routes head");
_Static_assert(sizeof(struct lb_mapped_host) == 12, "mapped host");
_Static_assert(sizeof(struct lb_route_words) == 8, "route words");
_Static_assert(sizeof(struct lb_route_row) == 152, "route row");
_Static_assert(sizeof(struct lb_condition_row) == 32, "condition row");
_Static_assert(sizeof(struct lb_model_row) == 320, "model row");
_Static_assert(sizeof(struct lb_guard_row) == 128, "guard row");
_Static_assert(sizeof(struct lb_credential_row) == 40, "credential row");
_Static_assert(sizeof(struct lb_editor_row) == 120, "editor row");
_Static_assert(sizeof(struct lb_edit_row) == 24, "edit row");
_Static_assert(sizeof(struct lb_piece_row) == 12, "piece row");
_Static_assert(sizeof(struct lb_worker_row) == 1664, "worker row");
_Static_assert(sizeof(struct lb_budget) == 128, "budget");
_Static_assert(sizeof(struct lb_backend_health) == 128, "health");
_Static_assert(sizeof(struct lb_decision) == 64, "decision");
_Static_assert(sizeof(struct lb_way_row) == 32, "way");
_Static_assert(sizeof(struct lb_tally) == 320, "tally");
_Static_assert(sizeof(struct lb_record) == 512, "record");
_Static_assert(sizeof(((struct lb_record *)0)->text) == LB_RECORD_TEXT, "texts of a record");
_Static_assert(sizeof(struct lb_histogram) == 4096, "a histogram is a page: one that nobody writes costs nothing");

enum { LINE = 64, PAGE = 4096, MAX_POOLS = 4096, MAX_BACKENDS = 1000000, MIN_SLOTS = 65536 };

static uint64_t round_up(uint64_t n, uint64_t unit)
{
    return (n + unit - 1) / unit * unit;
}

/* Fill in sizes and offsets; the one place that knows the order of the parts. */
static void plan(struct lb_head *head, const struct lb_limits *limits)
{
    head->magic = LB_MAGIC;
    head->layout = LB_LAYOUT;
    head->head_size = sizeof(struct lb_head);
    head->listener_size = sizeof(struct lb_listener_row);
    head->pool_size = sizeof(struct lb_pool_row);
    head->backend_size = sizeof(struct lb_backend_row);
    head->worker_size = sizeof(struct lb_worker_row);
    head->health_size = sizeof(struct lb_backend_health);
    head->decision_size = sizeof(struct lb_decision);
    head->histogram_size = sizeof(struct lb_histogram);
    head->tally_size = sizeof(struct lb_tally);
    head->record_size = sizeof(struct lb_record);
    head->client_size = sizeof(struct lb_client);
    head->key_size = sizeof(struct lb_key_row);
    head->max_listeners = limits->listeners;
    head->max_pools = limits->pools;
    head->max_backends = limits->backends;
    head->max_slots = limits->backends > MIN_SLOTS ? limits->backends : MIN_SLOTS;
    head->workers = limits->workers;

    uint64_t at = round_up(sizeof(struct lb_head), PAGE);
    head->off_listeners = at;
    at = round_up(at + (uint64_t)limits->listeners * sizeof(struct lb_listener_row), PAGE);
    head->off_pools = at;
    at = round_up(at + (uint64_t)limits->pools * sizeof(struct lb_pool_row), PAGE);
    head->off_backends = at;
    at = round_up(at + (uint64_t)limits->backends * sizeof(struct lb_backend_row), PAGE);
    head->off_costs = at;
    at = round_up(at + (uint64_t)limits->backends * sizeof(float), PAGE);
    head->off_routes = at;
    at = round_up(at + 2 * (uint64_t)LB_ROUTES_BYTES + LB_MODELS * sizeof(struct lb_model_row), PAGE);
    head->off_views = at;
    head->view_stride =
        round_up(sizeof(struct lb_view) + ((uint64_t)limits->backends + head->max_slots) * sizeof(uint32_t), PAGE);
    at += head->view_stride * 2 * limits->pools;
    head->off_clients = at;
    at = round_up(at + LB_CLIENTS * sizeof(struct lb_client) + LB_KEYS * sizeof(struct lb_key_row), PAGE);
    at = round_up(at + (uint64_t)LB_PREFIX_TABLES * LB_PREFIXES * sizeof(uint64_t) +
                      (uint64_t)limits->backends * sizeof(struct lb_home),
                  PAGE);
    head->off_workers = at;
    head->off_budgets = sizeof(struct lb_worker_row);
    head->off_health = head->off_budgets + (uint64_t)limits->pools * sizeof(struct lb_budget);
    head->off_active = head->off_health + (uint64_t)limits->backends * sizeof(struct lb_backend_health);
    head->off_charged = round_up(head->off_active + (uint64_t)limits->backends * sizeof(uint32_t), LINE);
    head->off_decisions = round_up(head->off_charged + (uint64_t)limits->backends * sizeof(uint32_t), LINE);
    head->off_timings =
        round_up(head->off_decisions + LB_DECISIONS * (sizeof(struct lb_decision) + sizeof(struct lb_way_row)), PAGE);
    head->off_tallies = head->off_timings + ((uint64_t)limits->pools * LB_TIMINGS + LB_MODELS) * sizeof(struct lb_histogram);
    head->off_records =
        round_up(head->off_tallies + ((uint64_t)limits->listeners + limits->pools + LB_MODELS) * sizeof(struct lb_tally), PAGE);
    head->off_counted = round_up(head->off_records + LB_RECORDS * sizeof(struct lb_record), PAGE);
    head->worker_stride = head->off_counted + LB_CLIENTS * sizeof(uint32_t);
    head->bytes = at + head->worker_stride * (limits->workers + LB_PICKERS);
}

static int limits_ok(const struct lb_limits *limits)
{
    return limits->listeners >= 1 && limits->listeners <= LB_MAX_LISTENERS && limits->pools >= 1 && limits->pools <= MAX_POOLS &&
           limits->backends >= 1 && limits->backends <= MAX_BACKENDS && limits->workers >= 1 && limits->workers <= LB_MAX_WORKERS;
}

uint64_t lb_shm_bytes(const struct lb_limits *limits)
{
    struct lb_head head = {0};
    if (!limits_ok(limits))
        return 0;
    plan(&head, limits);
    return head.bytes;
}

int lb_shm_create(void *memory, const struct lb_limits *limits)
{
    if (!limits_ok(limits))
        return -EINVAL;
    struct lb_head *head = memory;
    plan(head, limits);
    head->sections = limits->workers;
    return 0;
}

/* Everything that can be derived from the limits is derived again and compared: a damaged offset is never followed. */
static int same_plan(const struct lb_head *head)
{
    struct lb_limits limits = {head->max_listeners, head->max_pools, head->max_backends, head->workers};
    struct lb_head want = {0};
    if (!limits_ok(&limits))
        return 0;
    plan(&want, &limits);
    return want.head_size == head->head_size && want.listener_size == head->listener_size && want.pool_size == head->pool_size &&
           want.backend_size == head->backend_size && want.worker_size == head->worker_size &&
           want.health_size == head->health_size && want.max_slots == head->max_slots && want.bytes == head->bytes &&
           want.off_listeners == head->off_listeners && want.off_pools == head->off_pools &&
           want.off_backends == head->off_backends && want.off_costs == head->off_costs && want.off_routes == head->off_routes &&
           want.off_views == head->off_views && want.view_stride == head->view_stride && want.off_workers == head->off_workers &&
           want.worker_stride == head->worker_stride && want.off_budgets == head->off_budgets &&
           want.off_health == head->off_health && want.off_active == head->off_active && want.off_charged == head->off_charged &&
           want.off_decisions == head->off_decisions && want.decision_size == head->decision_size &&
           want.off_timings == head->off_timings && want.histogram_size == head->histogram_size &&
           want.off_tallies == head->off_tallies && want.tally_size == head->tally_size &&
           want.off_records == head->off_records && want.record_size == head->record_size &&
           want.off_clients == head->off_clients && want.client_size == head->client_size && want.key_size == head->key_size &&
           want.off_counted == head->off_counted;
}

int lb_shm_attach(struct lb_shm *shm, void *memory, uint64_t bytes)
{
    struct lb_head *head = memory;
    if (bytes < sizeof *head || head->magic != LB_MAGIC || head->layout != LB_LAYOUT || head->bytes != bytes || !same_plan(head))
        return -EINVAL;
    char *base = memory;
    shm->head = head;
    shm->listeners = (void *)(base + head->off_listeners);
    shm->pools = (void *)(base + head->off_pools);
    shm->backends = (void *)(base + head->off_backends);
    shm->costs = (void *)(base + head->off_costs);
    shm->clients = (void *)(base + head->off_clients);
    shm->keys = (void *)(shm->clients + LB_CLIENTS);
    shm->prefixes = (void *)(base + round_up((uint64_t)((char *)(shm->keys + LB_KEYS) - base), PAGE));
    shm->homes = (void *)(shm->prefixes + (size_t)LB_PREFIX_TABLES * LB_PREFIXES);
    return 0;
}

struct lb_view *lb_shm_view(const struct lb_shm *shm, uint32_t pool, uint32_t which)
{
    const struct lb_head *head = shm->head;
    return (void *)((char *)shm->head + head->off_views + head->view_stride * (2 * (uint64_t)pool + (which & 1)));
}

uint32_t *lb_shm_members(const struct lb_shm *shm, struct lb_view *view)
{
    (void)shm;
    return (uint32_t *)(view + 1);
}

uint32_t *lb_shm_slots(const struct lb_shm *shm, struct lb_view *view)
{
    return (uint32_t *)(view + 1) + shm->head->max_backends;
}

void *lb_shm_routes(const struct lb_shm *shm, uint32_t which)
{
    return (char *)shm->head + shm->head->off_routes + (size_t)(which & 1) * LB_ROUTES_BYTES;
}

struct lb_model_row *lb_shm_model(const struct lb_shm *shm, uint32_t model)
{
    char *copies = lb_shm_routes(shm, 0);
    return (struct lb_model_row *)(void *)(copies + 2 * (size_t)LB_ROUTES_BYTES) + model;
}

static char *section(const struct lb_shm *shm, uint32_t worker)
{
    return (char *)shm->head + shm->head->off_workers + shm->head->worker_stride * worker;
}

struct lb_worker_row *lb_shm_worker(const struct lb_shm *shm, uint32_t worker)
{
    return (void *)section(shm, worker);
}

struct lb_budget *lb_shm_budget(const struct lb_shm *shm, uint32_t worker, uint32_t pool)
{
    return (struct lb_budget *)(void *)(section(shm, worker) + shm->head->off_budgets) + pool;
}

struct lb_backend_health *lb_shm_health(const struct lb_shm *shm, uint32_t worker, uint32_t backend)
{
    return (struct lb_backend_health *)(void *)(section(shm, worker) + shm->head->off_health) + backend;
}

uint32_t *lb_shm_active(const struct lb_shm *shm, uint32_t worker)
{
    return (void *)(section(shm, worker) + shm->head->off_active);
}

uint32_t *lb_shm_charged(const struct lb_shm *shm, uint32_t worker)
{
    return (void *)(section(shm, worker) + shm->head->off_charged);
}

uint32_t *lb_shm_counted(const struct lb_shm *shm, uint32_t worker)
{
    return (void *)(section(shm, worker) + shm->head->off_counted);
}

struct lb_decision *lb_shm_decision(const struct lb_shm *shm, uint32_t worker, uint64_t number)
{
    return (struct lb_decision *)(void *)(section(shm, worker) + shm->head->off_decisions) + number % LB_DECISIONS;
}

struct lb_way_row *lb_shm_way(const struct lb_shm *shm, uint32_t worker, uint64_t number)
{
    uint64_t behind = shm->head->off_decisions + LB_DECISIONS * sizeof(struct lb_decision);
    return (struct lb_way_row *)(void *)(section(shm, worker) + behind) + number % LB_DECISIONS;
}

struct lb_histogram *lb_shm_timing(const struct lb_shm *shm, uint32_t worker, uint32_t pool, enum lb_timing timing)
{
    struct lb_histogram *all = (void *)(section(shm, worker) + shm->head->off_timings);
    return all + (size_t)pool * LB_TIMINGS + timing;
}

struct lb_tally *lb_shm_listener_tally(const struct lb_shm *shm, uint32_t worker, uint32_t listener)
{
    return (struct lb_tally *)(void *)(section(shm, worker) + shm->head->off_tallies) + listener;
}

struct lb_tally *lb_shm_pool_tally(const struct lb_shm *shm, uint32_t worker, uint32_t pool)
{
    return lb_shm_listener_tally(shm, worker, shm->head->max_listeners + pool);
}

struct lb_tally *lb_shm_model_tally(const struct lb_shm *shm, uint32_t worker, uint32_t model)
{
    return lb_shm_pool_tally(shm, worker, shm->head->max_pools + model);
}

struct lb_histogram *lb_shm_model_timing(const struct lb_shm *shm, uint32_t worker, uint32_t model)
{
    return lb_shm_timing(shm, worker, shm->head->max_pools, LB_TIMING_RESPONSE) + model; /* behind those of the pools */
}

struct lb_record *lb_shm_record(const struct lb_shm *shm, uint32_t worker, uint64_t number)
{
    return (struct lb_record *)(void *)(section(shm, worker) + shm->head->off_records) + number % LB_RECORDS;
}

uint32_t lb_shm_sections(const struct lb_shm *shm)
{
    uint32_t sections = __atomic_load_n(&shm->head->sections, __ATOMIC_ACQUIRE);
    uint32_t most = shm->head->workers + LB_PICKERS;
    return sections < most ? sections : most;
}

uint32_t lb_shm_in_flight(const struct lb_shm *shm, uint32_t backend)
{
    uint32_t sum = 0;
    for (uint32_t worker = 0, count = lb_shm_sections(shm); worker < count; worker++)
        sum += __atomic_load_n(&lb_shm_active(shm, worker)[backend], __ATOMIC_RELAXED);
    return sum;
}

uint32_t lb_shm_charge(const struct lb_shm *shm, uint32_t backend)
{
    uint32_t sum = 0;
    for (uint32_t worker = 0, count = lb_shm_sections(shm); worker < count; worker++)
        sum += __atomic_load_n(&lb_shm_charged(shm, worker)[backend], __ATOMIC_RELAXED);
    return sum;
}
