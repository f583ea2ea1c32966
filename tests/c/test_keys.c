/* Limits by key: what is let pass, what is told to wait, what a flood of keys does, and what workers make of one key at the same time. */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "table/keys.h"

enum { WORKERS = 4, FLOOD = 1000000, ROUNDS = 20000 };

static const struct lb_limits limits = {.listeners = 1, .pools = 1, .backends = 1, .workers = WORKERS};
static const struct lb_rate slow = {.step_ns = UINT64_C(6000000000), .burst = 10}; /* 10/minute */
static struct lb_shm shm;
static void *memory;

static void open_table(void)
{
    uint64_t bytes = lb_shm_bytes(&limits);
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED);
    CHECK(lb_shm_create(memory, &limits) == 0);
    CHECK(lb_shm_attach(&shm, memory, bytes) == 0);
    memcpy(shm.head->client_key, "0123456789abcdef", 16);
}

static void close_table(void)
{
    munmap(memory, lb_shm_bytes(&limits));
}

static uint64_t key_of(uint64_t limit, uint32_t number)
{
    return lb_key_hash(&shm, limit, 0, &number, sizeof number);
}

static void as_many_as_burst_pass_at_once_and_then_one_each_step(void)
{
    open_table();
    uint64_t key = key_of(1, 1), now_us = 5000000;
    for (uint32_t i = 0; i < slow.burst; i++)
        CHECK(lb_key_asks(&shm, i % WORKERS, key, &slow, now_us) == 0);
    CHECK(lb_key_asks(&shm, 0, key, &slow, now_us) == 6);
    CHECK(lb_key_asks(&shm, 1, key, &slow, now_us + 5000001) == 1); /* what waits is not charged again */
    CHECK(lb_key_asks(&shm, 2, key, &slow, now_us + 6000000) == 0);
    CHECK(lb_key_asks(&shm, 3, key, &slow, now_us + 6000000) == 6);
    for (uint32_t i = 0; i < slow.burst; i++) /* a minute later all is forgiven */
        CHECK(lb_key_asks(&shm, 0, key, &slow, now_us + 66000000) == 0);
    close_table();
}

static void keys_and_limits_are_apart(void)
{
    static const struct lb_rate one = {.step_ns = UINT64_C(1000000000), .burst = 1};
    open_table();
    CHECK(lb_key_asks(&shm, 0, key_of(1, 1), &one, 1) == 0);
    CHECK(lb_key_asks(&shm, 0, key_of(1, 1), &one, 1) == 1);
    CHECK(lb_key_asks(&shm, 0, key_of(1, 2), &one, 1) == 0);
    CHECK(lb_key_asks(&shm, 0, key_of(2, 1), &one, 1) == 0);
    CHECK(lb_key_hash(&shm, 1, 1, "a", 1) != lb_key_hash(&shm, 1, 2, "a", 1)); /* kinds are, too */
    close_table();
}

static void a_flood_of_keys_refuses_nobody_and_lets_those_go_that_owe_least(void)
{
    open_table();
    uint64_t heavy = key_of(1, UINT32_MAX), now_us = 5000000;
    for (uint32_t i = 0; i < slow.burst; i++)
        CHECK(lb_key_asks(&shm, 0, heavy, &slow, now_us) == 0);
    for (uint32_t i = 0; i < FLOOD; i++)
        CHECK(lb_key_asks(&shm, i % WORKERS, key_of(1, i), &slow, now_us) == 0);
    CHECK(lb_key_asks(&shm, 0, heavy, &slow, now_us) > 0); /* it owes more than each of them */
    uint64_t forgotten = 0;
    for (uint32_t worker = 0; worker < WORKERS; worker++)
        forgotten += lb_shm_worker(&shm, worker)->keys_forgotten;
    CHECK(forgotten >= FLOOD - LB_KEYS && forgotten < FLOOD);
    CHECK(lb_key_asks(&shm, 0, key_of(1, 7), &slow, now_us + 60000000) == 0); /* and the table is good for others afterwards */
    close_table();
}

static uint32_t admitted[WORKERS];

static void *asks(void *argument)
{
    static const struct lb_rate many = {.step_ns = UINT64_C(1000000000), .burst = ROUNDS};
    uint32_t worker = (uint32_t)(uintptr_t)argument;
    for (uint32_t i = 0; i < ROUNDS; i++)
        admitted[worker] += lb_key_asks(&shm, worker, key_of(1, 1), &many, 1000) == 0;
    return NULL;
}

static void workers_at_the_same_time_let_no_more_pass(void)
{
    pthread_t threads[WORKERS];
    uint32_t sum = 0;
    open_table();
    CHECK(lb_key_asks(&shm, 0, key_of(1, 1), &(struct lb_rate){1, 1}, 1) == 0); /* its row is there */
    for (uintptr_t i = 0; i < WORKERS; i++)
        CHECK(pthread_create(&threads[i], NULL, asks, (void *)i) == 0);
    for (int i = 0; i < WORKERS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        sum += admitted[i];
    }
    CHECK(sum == ROUNDS);
    close_table();
}

int main(void)
{
    RUN(as_many_as_burst_pass_at_once_and_then_one_each_step);
    RUN(keys_and_limits_are_apart);
    RUN(a_flood_of_keys_refuses_nobody_and_lets_those_go_that_owe_least);
    RUN(workers_at_the_same_time_let_no_more_pass);
    return 0;
}
