#include "keys.h"

#include <string.h>

#include "../core/siphash.h"
#include "pace.h"

enum { WAYS = 8, TRIES = 8 }; /* rows that a key may be in; a CAS that is lost is tried again */

uint64_t lb_key_hash(const struct lb_shm *shm, uint64_t limit, uint32_t kind, const void *bytes, size_t count)
{
    struct {
        uint64_t limit;
        uint64_t kind;
        uint64_t value;
    } whole = {limit, kind, lb_siphash(shm->head->client_key, bytes, count)};
    return lb_siphash(shm->head->client_key, &whole, sizeof whole) | 1; /* 0 is a row that nobody has */
}

static uint64_t owes_ns(const struct lb_key_row *row, uint64_t now_ns)
{
    uint64_t when = __atomic_load_n(&row->request_ns, __ATOMIC_RELAXED);
    return when > now_ns && __atomic_load_n(&row->key, __ATOMIC_RELAXED) ? when - now_ns : 0;
}

static struct lb_key_row *least(struct lb_key_row *set, uint64_t now_ns)
{
    struct lb_key_row *best = set;
    uint64_t owed = owes_ns(set, now_ns);
    for (int i = 1; i < WAYS && owed; i++) {
        uint64_t other = owes_ns(&set[i], now_ns);
        if (other >= owed)
            continue;
        best = &set[i];
        owed = other;
    }
    return best;
}

/* Its row, taken if need be; NULL: others were faster each time. */
static struct lb_key_row *find(const struct lb_shm *shm, uint32_t worker, uint64_t key, uint64_t now_ns)
{
    struct lb_key_row *set = &shm->keys[(uint32_t)(key >> 32) % (LB_KEYS / WAYS) * WAYS];
    for (int tries = 0; tries < TRIES; tries++) {
        for (int i = 0; i < WAYS; i++)
            if (__atomic_load_n(&set[i].key, __ATOMIC_ACQUIRE) == key)
                return &set[i];
        struct lb_key_row *row = least(set, now_ns);
        int forgets = owes_ns(row, now_ns) != 0;
        uint64_t before = __atomic_load_n(&row->key, __ATOMIC_RELAXED);
        __atomic_store_n(&row->request_ns, 0, __ATOMIC_RELAXED); /* first: nobody pays what another key owes */
        if (!__atomic_compare_exchange_n(&row->key, &before, key, 0, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            continue;
        lb_add(&lb_shm_worker(shm, worker)->keys_forgotten, (uint64_t)forgets);
        return row;
    }
    return NULL;
}

uint32_t lb_key_asks(const struct lb_shm *shm, uint32_t worker, uint64_t key, const struct lb_rate *rate, uint64_t now_us)
{
    uint64_t now_ns = now_us * 1000;
    struct lb_key_row *row = find(shm, worker, key, now_ns);
    if (!row)
        return 0;
    uint64_t wait_ns = lb_pace_take(&row->request_ns, now_ns, rate->step_ns, rate->step_ns * (rate->burst - 1));
    return lb_pace_seconds(wait_ns);
}
