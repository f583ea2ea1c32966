#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "table/budget.h"
#include "table/schedule.h"
#include "table/load.h"
#include "table/table.h"
#include "table/view.h"

enum { BACKENDS = 500 };

static const struct lb_limits limits = {.listeners = 2, .pools = 3, .backends = BACKENDS, .workers = 2};
static const struct lb_wish anybody;
static struct lb_shm shm;
static void *memory;

static void open_table(void)
{
    uint64_t bytes = lb_shm_bytes(&limits);
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    CHECK(lb_shm_create(memory, &limits) == 0);
    CHECK(lb_shm_attach(&shm, memory, bytes) == 0);
}

static void close_table(void)
{
    munmap(memory, lb_shm_bytes(&limits));
}

static void put(uint32_t index, uint32_t pool, uint32_t weight)
{
    struct lb_backend_spec spec = {
        .pool = pool, .weight = weight, .family = AF_INET, .port = 80, .address = "a:80", .source = "api"};
    CHECK(lb_table_put(&shm, index, &spec) > 0);
    lb_table_set_state(&shm, index, LB_UP, "test");
}

static void attach_refuses_a_wrong_size(void)
{
    struct lb_shm other;
    open_table();
    CHECK(lb_shm_attach(&other, memory, lb_shm_bytes(&limits) - 1) == -EINVAL);
    CHECK(lb_shm_attach(&other, memory, 8) == -EINVAL);
    close_table();
}

static void views_hold_who_is_up_and_has_weight(void)
{
    open_table();
    shm.pools[1].policy = LB_ROUND_ROBIN;
    put(0, 1, 1);
    put(1, 1, 0);
    put(2, 2, 1);
    put(3, 1, 1);
    lb_table_set_state(&shm, 3, LB_DOWN, "test");
    put(4, 1, 2);
    CHECK(lb_view_publish(&shm, 1) == 2);
    struct lb_cursor cursor = {.seed = 1};
    int counts[5] = {0};
    for (int i = 0; i < 30; i++)
        counts[lb_view_pick(&shm, 1, &anybody, &cursor)]++;
    CHECK(counts[0] == 10 && counts[4] == 20);
    CHECK(lb_view_pick(&shm, 0, &anybody, &cursor) == LB_NONE);
    close_table();
}

static void least_conn_looks_at_every_worker(void)
{
    open_table();
    shm.pools[0].policy = LB_LEAST_CONN;
    for (uint32_t i = 0; i < 3; i++)
        put(i, 0, 1);
    CHECK(lb_view_publish(&shm, 0) == 3);
    struct lb_cursor cursor = {.seed = 1};
    CHECK(lb_load_take(&shm, 0, 0, 0, 3));
    CHECK(lb_load_take(&shm, 1, 0, 1, 5));
    CHECK(lb_load_take(&shm, 0, 0, 2, 1));
    CHECK(lb_load_take(&shm, 1, 0, 2, 1));
    CHECK(lb_view_pick(&shm, 0, &anybody, &cursor) == 2);
    uint32_t tried = 2;
    CHECK(lb_view_pick(&shm, 0, &(struct lb_wish){.tried = &tried, .tried_count = 1}, &cursor) == 0);
    CHECK(lb_shm_charge(&shm, 1) == 5);
    CHECK(lb_shm_in_flight(&shm, 1) == 1);
    close_table();
}

static void generations_are_never_given_twice(void)
{
    open_table();
    put(0, 0, 1);
    uint64_t first = shm.backends[0].generation;
    lb_table_free(&shm, 0);
    put(0, 0, 1);
    CHECK(shm.backends[0].generation > first);
    close_table();
}

static void burial_settles_the_books(void)
{
    open_table();
    struct lb_worker_row *row = lb_shm_worker(&shm, 1);
    put(0, 0, 1);
    row->accepted = 10, row->closed = 4, row->refused = 1, row->active = 5;
    lb_shm_active(&shm, 1)[0] = 5;
    lb_table_bury_worker(&shm, 1);
    CHECK(row->accepted == row->active + row->closed + row->refused);
    CHECK(row->closed_lost == 5 && row->active == 0 && lb_shm_in_flight(&shm, 0) == 0);
    close_table();
}

static void budget_is_a_share_and_a_floor_over_all_workers(void)
{
    open_table();
    shm.pools[0].budget_percent = 10;
    shm.pools[0].budget_floor = 1;
    for (int i = 0; i < 100; i++)
        lb_budget_session(&shm, i % 2 ? 1 : 0, 0, 1000);
    int granted = 0;
    for (int i = 0; i < 100; i++)
        granted += lb_budget_retry(&shm, i % 2 ? 1 : 0, 0, 1000);
    CHECK(granted == 10 + LB_WINDOW);
    CHECK(lb_budget_retry(&shm, 0, 0, 1000 + LB_WINDOW)); /* the window has moved on */
    close_table();
}

static void schedule_too_large_is_scaled_and_nobody_is_left_out(void)
{
    static uint32_t members[100], weights[100], slots[150];
    int counts[100] = {0};
    for (uint32_t i = 0; i < 100; i++) {
        members[i] = i;
        weights[i] = i % 2 ? 256 : 1;
    }
    int64_t count = lb_schedule_build(members, weights, 100, slots, 150);
    CHECK(count >= 100 && count <= 150);
    for (int64_t i = 0; i < count; i++)
        counts[slots[i]]++;
    for (int i = 0; i < 100; i++)
        CHECK(counts[i] >= 1);
}

/* Picks while the control plane publishes without pause: never a wild index, never one that was always down. */
static int stop;

static void *pick_all_the_time(void *argument)
{
    struct lb_cursor cursor = {.seed = (uint64_t)(uintptr_t)argument + 1};
    long picks = 0;
    while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
        uint32_t backend = lb_view_pick(&shm, 0, &anybody, &cursor);
        CHECK(backend == LB_NONE || (backend < BACKENDS && backend % 5));
        picks++;
    }
    return (void *)picks;
}

static void picks_and_publications_meet(void)
{
    pthread_t threads[2];
    open_table();
    shm.pools[0].policy = LB_ROUND_ROBIN;
    for (uint32_t i = 0; i < BACKENDS; i++) {
        put(i, 0, 1 + i % 7);
        if (i % 5 == 0)
            lb_table_set_state(&shm, i, LB_DOWN, "always");
    }
    for (long i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, pick_all_the_time, (void *)i) == 0);
    for (uint32_t i = 0; i < 3000; i++) {
        __atomic_store_n(&shm.pools[0].policy, 1 + i % 4, __ATOMIC_RELAXED);
        uint32_t index = i % BACKENDS;
        if (index % 5)
            lb_table_set_state(&shm, index, i / BACKENDS % 2 ? LB_DOWN : LB_UP, "turn");
        CHECK(lb_view_publish(&shm, 0) >= 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    close_table();
}

int main(void)
{
    RUN(attach_refuses_a_wrong_size);
    RUN(views_hold_who_is_up_and_has_weight);
    RUN(least_conn_looks_at_every_worker);
    RUN(generations_are_never_given_twice);
    RUN(burial_settles_the_books);
    RUN(budget_is_a_share_and_a_floor_over_all_workers);
    RUN(schedule_too_large_is_scaled_and_nobody_is_left_out);
    RUN(picks_and_publications_meet);
    return 0;
}
