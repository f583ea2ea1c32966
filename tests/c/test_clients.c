/* Limits per client address: what is counted, what is forgotten, and what two workers make of one client at the same time. */
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "table/clients.h"
#include "table/table.h"

enum { WORKERS = 4, MOST = 20, ROUNDS = 20000 };

static const struct lb_limits limits = {.listeners = 2, .pools = 1, .backends = 1, .workers = WORKERS};
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
    shm.listeners[0].tenant = 1;
    shm.listeners[1].tenant = 2;
}

static void close_table(void)
{
    munmap(memory, lb_shm_bytes(&limits));
}

static void v4(uint8_t ip[16], uint32_t number)
{
    memset(ip, 0, 10);
    ip[10] = ip[11] = 0xff;
    for (int i = 0; i < 4; i++)
        ip[12 + i] = (uint8_t)(number >> (24 - 8 * i));
}

static void sessions_are_summed_over_workers(void)
{
    uint8_t ip[16];
    uint32_t counted[MOST], none;
    open_table();
    shm.listeners[0].max_client_sessions = MOST;
    v4(ip, 1);
    for (uint32_t i = 0; i < MOST; i++) {
        CHECK(lb_client_admit(&shm, i % WORKERS, 0, ip, 1, &counted[i]) == LB_CLIENT_ADMITTED);
        CHECK(counted[i]);
    }
    CHECK(lb_client_admit(&shm, 0, 0, ip, 1, &none) == LB_CLIENT_TOO_MANY && !none);
    CHECK(lb_client_admit(&shm, 0, 1, ip, 1, &none) == LB_CLIENT_ADMITTED); /* another listener */
    lb_client_leave(&shm, 0, none);
    lb_client_leave(&shm, 1, counted[1]);
    CHECK(lb_client_admit(&shm, 3, 0, ip, 1, &counted[1]) == LB_CLIENT_ADMITTED);
    CHECK(lb_shm_worker(&shm, 3)->clients_counted == MOST / WORKERS + 1);
    lb_clients_bury(&shm, 3); /* it died: its sessions are not counted any more */
    CHECK(lb_shm_worker(&shm, 3)->clients_counted == 0);
    CHECK(lb_client_admit(&shm, 0, 0, ip, 1, &none) == LB_CLIENT_ADMITTED);
    close_table();
}

static void an_ipv6_client_is_its_first_64_bits(void)
{
    uint8_t a[16] = {0x20, 1, 0xd, 0xb8, [15] = 1}, b[16] = {0x20, 1, 0xd, 0xb8, [8] = 9}, c[16] = {0x20, 1, 0xd, 0xb8, [7] = 1};
    uint32_t counted;
    open_table();
    shm.listeners[0].max_client_sessions = 1;
    CHECK(lb_client_admit(&shm, 0, 0, a, 1, &counted) == LB_CLIENT_ADMITTED);
    CHECK(lb_client_admit(&shm, 0, 0, b, 1, &counted) == LB_CLIENT_TOO_MANY);
    CHECK(lb_client_admit(&shm, 0, 0, c, 1, &counted) == LB_CLIENT_ADMITTED);
    close_table();
}

static void a_rate_lets_a_burst_through_and_then_its_pace(void)
{
    uint8_t ip[16];
    uint32_t counted, admitted = 0, first;
    open_table();
    shm.listeners[0].client_session_rate = 10;
    shm.listeners[0].client_session_burst = 5;
    v4(ip, 7);
    for (uint64_t us = 1000000; us < 3000000; us += 1000) /* a thousand a second, for two */
        if (lb_client_admit(&shm, 0, 0, ip, us, &counted) == LB_CLIENT_ADMITTED) {
            lb_client_leave(&shm, 0, counted);
            admitted++;
        }
    CHECK(admitted >= 24 && admitted <= 25); /* 5 at once, then one each 100 ms */
    shm.listeners[0].client_session_rate = 0;
    shm.listeners[0].client_request_rate = 1;
    shm.listeners[0].client_request_burst = 2;
    CHECK(lb_client_admit(&shm, 0, 0, ip, 4000000, &first) == LB_CLIENT_ADMITTED);
    CHECK(lb_client_asks(&shm, 0, first, 4000000) == 0);
    CHECK(lb_client_asks(&shm, 0, first, 4000000) == 0);
    CHECK(lb_client_asks(&shm, 0, first, 4000000) == 1);
    CHECK(lb_client_asks(&shm, 0, first, 5000001) == 0);
    CHECK(lb_client_asks(&shm, 0, 0, 5000001) == 0); /* counted nowhere: not limited */
    close_table();
}

static void a_full_table_serves_uncounted_and_grows_never(void)
{
    uint8_t ip[16];
    uint32_t counted, uncounted = 0, first = 0;
    open_table();
    shm.listeners[0].max_client_sessions = 1;
    for (uint32_t i = 0; i < 2 * LB_CLIENTS; i++) {
        v4(ip, i);
        CHECK(lb_client_admit(&shm, 0, 0, ip, 1, &counted) == LB_CLIENT_ADMITTED);
        first = i ? first : counted;
        uncounted += !counted;
    }
    CHECK(uncounted >= LB_CLIENTS && uncounted == lb_shm_worker(&shm, 0)->clients_uncounted);
    v4(ip, 0);
    CHECK(lb_client_admit(&shm, 0, 0, ip, 1, &counted) == LB_CLIENT_TOO_MANY); /* the first is known still */
    lb_client_leave(&shm, 0, first);
    CHECK(lb_client_admit(&shm, 0, 0, ip, 1, &counted) == LB_CLIENT_ADMITTED && counted);
    close_table();
}

static void who_owes_nothing_makes_room(void)
{
    uint8_t ip[16];
    uint32_t counted;
    open_table();
    shm.listeners[0].client_session_rate = 1;
    shm.listeners[0].client_session_burst = 1;
    for (uint32_t i = 0; i < 4 * LB_CLIENTS; i++) {
        v4(ip, i);
        CHECK(lb_client_admit(&shm, 0, 0, ip, 1, &counted) == LB_CLIENT_ADMITTED && counted);
        lb_client_leave(&shm, 0, counted);
    }
    v4(ip, 4 * LB_CLIENTS - 1);
    CHECK(lb_client_admit(&shm, 0, 0, ip, 2, &counted) == LB_CLIENT_TOO_FAST);
    CHECK(lb_shm_worker(&shm, 0)->clients_uncounted == 0);
    close_table();
}

static uint32_t open_now, most_open;

static void *hammer(void *argument)
{
    uint32_t worker = *(uint32_t *)argument, counted;
    uint8_t ip[16];
    v4(ip, 42);
    for (int i = 0; i < ROUNDS; i++) {
        if (lb_client_admit(&shm, worker, 0, ip, 1, &counted) != LB_CLIENT_ADMITTED)
            continue;
        uint32_t now = __atomic_add_fetch(&open_now, 1, __ATOMIC_SEQ_CST), seen = __atomic_load_n(&most_open, __ATOMIC_RELAXED);
        while (now > seen && !__atomic_compare_exchange_n(&most_open, &seen, now, 0, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
            ;
        __atomic_sub_fetch(&open_now, 1, __ATOMIC_SEQ_CST);
        lb_client_leave(&shm, worker, counted);
    }
    return NULL;
}

static void workers_together_never_pass_the_limit(void)
{
    pthread_t threads[WORKERS];
    uint32_t numbers[WORKERS];
    open_table();
    shm.listeners[0].max_client_sessions = 2;
    for (uint32_t i = 0; i < WORKERS; i++) {
        numbers[i] = i;
        CHECK(pthread_create(&threads[i], NULL, hammer, &numbers[i]) == 0);
    }
    for (uint32_t i = 0; i < WORKERS; i++)
        CHECK(pthread_join(threads[i], NULL) == 0);
    CHECK(most_open >= 1 && most_open <= 2);
    for (uint32_t i = 0; i < WORKERS; i++)
        CHECK(lb_shm_worker(&shm, i)->clients_counted == 0);
    close_table();
}

int main(void)
{
    RUN(sessions_are_summed_over_workers);
    RUN(an_ipv6_client_is_its_first_64_bits);
    RUN(a_rate_lets_a_burst_through_and_then_its_pace);
    RUN(a_full_table_serves_uncounted_and_grows_never);
    RUN(who_owes_nothing_makes_room);
    RUN(workers_together_never_pass_the_limit);
    return 0;
}
