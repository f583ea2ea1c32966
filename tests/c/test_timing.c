#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include "check.h"
#include "table/timing.h"

static const struct lb_limits limits = {.listeners = 1, .pools = 3, .backends = 4, .workers = 2};
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

static uint64_t first_of(uint32_t bucket)
{
    return bucket < 16 ? bucket : (uint64_t)(16 + bucket % 16) << (bucket / 16 - 1);
}

static void every_time_has_its_bucket(void)
{
    for (uint32_t bucket = 0; bucket < LB_TIMING_BUCKETS - 1; bucket++) {
        CHECK(lb_timing_bucket(first_of(bucket)) == bucket);
        CHECK(lb_timing_bucket(first_of(bucket + 1) - 1) == bucket);
    }
    CHECK(lb_timing_bucket(UINT64_MAX) == LB_TIMING_BUCKETS - 1);
}

/* The last of a pool, the first of the next, and the section's end: each its own page. */
static void histograms_do_not_touch(void)
{
    open_table();
    for (uint32_t worker = 0; worker < limits.workers; worker++)
        for (uint32_t pool = 0; pool < limits.pools; pool++)
            for (uint32_t timing = 0; timing < LB_TIMINGS; timing++)
                for (uint32_t i = 0; i <= worker * 16 + pool * 4 + timing; i++)
                    lb_timing_note(&shm, worker, pool, (enum lb_timing)timing, i % 2 ? 0 : UINT64_C(1) << 40);
    for (uint32_t worker = 0; worker < limits.workers; worker++)
        for (uint32_t pool = 0; pool < limits.pools; pool++)
            for (uint32_t timing = 0; timing < LB_TIMINGS; timing++) {
                const struct lb_histogram *histogram = lb_shm_timing(&shm, worker, pool, (enum lb_timing)timing);
                CHECK((uintptr_t)histogram % 4096 == 0);
                uint64_t sum = 0;
                for (uint32_t i = 0; i < LB_TIMING_BUCKETS; i++)
                    sum += histogram->count[i];
                CHECK(sum == worker * 16 + pool * 4 + timing + 1);
                CHECK(lb_shm_budget(&shm, worker, pool)->timed == (1u << LB_TIMINGS) - 1);
            }
    munmap(memory, lb_shm_bytes(&limits));
}

static void a_new_tenant_begins_with_nothing(void)
{
    open_table();
    shm.pools[1].tenant = 1;
    lb_timing_note(&shm, 0, 1, LB_TIMING_RESPONSE, 5);
    shm.pools[1].tenant = 2;
    lb_timing_note(&shm, 0, 1, LB_TIMING_CONNECT, 7);
    CHECK(lb_shm_timing(&shm, 0, 1, LB_TIMING_RESPONSE)->count[5] == 0);
    CHECK(lb_shm_timing(&shm, 0, 1, LB_TIMING_CONNECT)->count[7] == 1);
    CHECK(lb_shm_timing(&shm, 0, 1, LB_TIMING_CONNECT)->sum_us == 7);
    CHECK(lb_shm_budget(&shm, 0, 1)->timed == 1 << LB_TIMING_CONNECT);
    munmap(memory, lb_shm_bytes(&limits));
}

int main(void)
{
    every_time_has_its_bucket();
    histograms_do_not_touch();
    a_new_tenant_begins_with_nothing();
    return 0;
}
