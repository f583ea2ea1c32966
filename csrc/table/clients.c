#include "clients.h"

#include <string.h>

#include "../core/ip.h"
#include "../core/siphash.h"
#include "pace.h"

enum { WAYS = 8, TRIES = 8 }; /* rows that a key may be in; a CAS that is lost is tried again */

/* --- who it is ------------------------------------------------------------------------------------------------------ */

static uint64_t key_of(const struct lb_shm *shm, uint32_t listener, const uint8_t ip[16])
{
    uint32_t tenant = shm->listeners[listener].tenant;
    uint8_t bytes[20];
    memcpy(bytes, &tenant, sizeof tenant);
    memcpy(bytes + 4, ip, 16);
    memset(bytes + 4 + lb_ip_customer_bytes(ip), 0, 16 - lb_ip_customer_bytes(ip));
    return lb_siphash(shm->head->client_key, bytes, sizeof bytes) | 1; /* 0 is a row that nobody has */
}

static uint32_t open_sessions(const struct lb_shm *shm, uint32_t row)
{
    uint32_t sum = 0;
    for (uint32_t worker = 0, count = lb_shm_sections(shm); worker < count; worker++)
        sum += __atomic_load_n(&lb_shm_counted(shm, worker)[row], __ATOMIC_RELAXED);
    return sum;
}

static uint64_t owes(const struct lb_client *client)
{
    uint64_t session = __atomic_load_n(&client->session_ns, __ATOMIC_RELAXED);
    uint64_t request = __atomic_load_n(&client->request_ns, __ATOMIC_RELAXED);
    return session > request ? session : request;
}

/* The row of the set that can be had, or LB_CLIENTS. */
static uint32_t spare(const struct lb_shm *shm, uint32_t set, uint64_t now_ns)
{
    uint32_t best = LB_CLIENTS;
    uint64_t least = UINT64_MAX;
    for (uint32_t row = set; row < set + WAYS; row++) {
        const struct lb_client *client = &shm->clients[row];
        uint64_t debt = __atomic_load_n(&client->key, __ATOMIC_RELAXED) ? owes(client) : 0;
        debt = debt > now_ns ? debt - now_ns : 0;
        if (debt >= least || open_sessions(shm, row))
            continue;
        if (!debt)
            return row;
        best = row;
        least = debt;
    }
    return best;
}

/* The client's row, taken if need be, or LB_CLIENTS. */
static uint32_t find(const struct lb_shm *shm, uint64_t key, uint64_t now_ns)
{
    uint32_t set = (uint32_t)(key >> 32) % (LB_CLIENTS / WAYS) * WAYS;
    for (int tries = 0; tries < TRIES; tries++) {
        for (uint32_t row = set; row < set + WAYS; row++)
            if (__atomic_load_n(&shm->clients[row].key, __ATOMIC_ACQUIRE) == key)
                return row;
        uint32_t row = spare(shm, set, now_ns);
        if (row == LB_CLIENTS)
            return row;
        struct lb_client *client = &shm->clients[row];
        uint64_t before = __atomic_load_n(&client->key, __ATOMIC_RELAXED);
        if (!__atomic_compare_exchange_n(&client->key, &before, key, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            continue;
        __atomic_store_n(&client->session_ns, 0, __ATOMIC_RELAXED);
        __atomic_store_n(&client->request_ns, 0, __ATOMIC_RELAXED);
        return row;
    }
    return LB_CLIENTS;
}

/* --- its sessions --------------------------------------------------------------------------------------------------- */

static void change(const struct lb_shm *shm, uint32_t worker, uint32_t row, uint32_t by)
{
    uint32_t *mine = &lb_shm_counted(shm, worker)[row];
    __atomic_store_n(mine, *mine + by, __ATOMIC_RELAXED);
    lb_add(&lb_shm_worker(shm, worker)->clients_counted, (uint64_t)(int32_t)by);
}

/* Find its row and count there: the row, or LB_CLIENTS. Each worker writes its own figure, then reads what others wrote (Dekker): a
 * row that somebody else took meanwhile is left again. */
static uint32_t enter(const struct lb_shm *shm, uint32_t worker, uint64_t key, uint64_t now_ns)
{
    for (int tries = 0; tries < TRIES; tries++) {
        uint32_t row = find(shm, key, now_ns);
        if (row == LB_CLIENTS)
            break;
        change(shm, worker, row, 1);
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
        if (__atomic_load_n(&shm->clients[row].key, __ATOMIC_RELAXED) == key)
            return row;
        change(shm, worker, row, UINT32_MAX);
    }
    lb_add(&lb_shm_worker(shm, worker)->clients_uncounted, 1);
    return LB_CLIENTS;
}

/* 0: it conforms, else nanoseconds until it would. A reload may write the row meanwhile: each figure is read once. */
static uint64_t pace(uint64_t *when, uint64_t now_ns, const uint32_t *a_second, const uint32_t *at_once)
{
    uint32_t rate = __atomic_load_n(a_second, __ATOMIC_RELAXED), burst = __atomic_load_n(at_once, __ATOMIC_RELAXED);
    if (!rate || !burst)
        return 0;
    uint64_t step = LB_SECOND_NS / rate;
    return lb_pace_take(when, now_ns, step, step * (burst - 1));
}

static enum lb_client_verdict judge(const struct lb_shm *shm, const struct lb_listener_row *listener, uint32_t row,
                                    uint64_t now_ns)
{
    uint32_t most = __atomic_load_n(&listener->max_client_sessions, __ATOMIC_RELAXED);
    if (most && open_sessions(shm, row) > most)
        return LB_CLIENT_TOO_MANY;
    if (pace(&shm->clients[row].session_ns, now_ns, &listener->client_session_rate, &listener->client_session_burst))
        return LB_CLIENT_TOO_FAST;
    return LB_CLIENT_ADMITTED;
}

enum lb_client_verdict lb_client_admit(const struct lb_shm *shm, uint32_t worker, uint32_t listener, const uint8_t ip[16],
                                       uint64_t now_us, uint32_t *counted)
{
    uint32_t row = enter(shm, worker, key_of(shm, listener, ip), now_us * 1000);
    *counted = 0;
    if (row == LB_CLIENTS)
        return LB_CLIENT_ADMITTED;
    enum lb_client_verdict verdict = judge(shm, &shm->listeners[listener], row, now_us * 1000);
    if (verdict == LB_CLIENT_ADMITTED)
        *counted = row + 1;
    else
        change(shm, worker, row, UINT32_MAX);
    return verdict;
}

uint32_t lb_client_count(const struct lb_shm *shm, uint32_t worker, uint32_t listener, const uint8_t ip[16], uint64_t now_us)
{
    uint32_t row = enter(shm, worker, key_of(shm, listener, ip), now_us * 1000);
    return row == LB_CLIENTS ? 0 : row + 1;
}

void lb_client_leave(const struct lb_shm *shm, uint32_t worker, uint32_t counted)
{
    if (counted)
        change(shm, worker, counted - 1, UINT32_MAX);
}

uint32_t lb_client_asks(const struct lb_shm *shm, uint32_t listener, uint32_t counted, uint64_t now_us)
{
    const struct lb_listener_row *row = &shm->listeners[listener];
    if (!counted)
        return 0;
    uint64_t wait =
        pace(&shm->clients[counted - 1].request_ns, now_us * 1000, &row->client_request_rate, &row->client_request_burst);
    return lb_pace_seconds(wait);
}

void lb_clients_bury(const struct lb_shm *shm, uint32_t worker)
{
    struct lb_worker_row *row = lb_shm_worker(shm, worker);
    uint32_t *counted = lb_shm_counted(shm, worker);
    if (!row->clients_counted) /* its pages may not even be there */
        return;
    row->clients_counted = 0;
    for (uint32_t i = 0; i < LB_CLIENTS; i++)
        __atomic_store_n(&counted[i], 0, __ATOMIC_RELAXED);
}
