#include "prefixes.h"

/* A slot: 20 bits of the block's hash, 20 of the backend's row, 8 of its life, 16 of when it was had last, in four seconds. Never 0
 * when it is taken, since no life is. Slots are read and written whole: of two workers that take one at once, one writes in vain, and a
 * block is forgotten; nobody waits. Eight of them are a line of the cache, and a block is in one line. */
enum { TAG_BITS = 20, BACKEND_BITS = 20, LIFE_BITS = 8, WHEN_BITS = 16, WAYS = 8, WHEN_MS_BITS = 12, LATELY = 128, EIGHTHS = 8 };

_Static_assert(TAG_BITS + BACKEND_BITS + LIFE_BITS + WHEN_BITS == 64, "a slot is a word");

static uint32_t life_of(const struct lb_shm *shm, uint32_t backend)
{
    return __atomic_load_n(&shm->homes[backend].life, __ATOMIC_RELAXED) % ((1 << LIFE_BITS) - 1) + 1;
}

static uint32_t tag_in(uint64_t slot)
{
    return (uint32_t)(slot >> (64 - TAG_BITS));
}

static uint32_t backend_in(uint64_t slot)
{
    return (uint32_t)(slot >> (WHEN_BITS + LIFE_BITS)) & ((1 << BACKEND_BITS) - 1);
}

/* In units of four seconds; that of three days and more ago looks younger, if nobody has taken the slot since. */
static uint32_t age_of(uint64_t slot, uint32_t now)
{
    return (now - (uint32_t)slot) & ((1 << WHEN_BITS) - 1);
}

/* How old may be what the backend has still: its cache was filled once since. */
static uint32_t oldest_in_cache(const struct lb_shm *shm, uint32_t backend, uint32_t now)
{
    const struct lb_home *home = &shm->homes[backend];
    uint32_t turns = __atomic_load_n(&home->turns, __ATOMIC_RELAXED);
    if (turns < EIGHTHS)
        return UINT32_MAX;
    return age_of(__atomic_load_n(&home->at[turns % EIGHTHS], __ATOMIC_RELAXED), now);
}

static int lives(const struct lb_shm *shm, uint64_t slot)
{
    uint32_t backend = backend_in(slot);
    return slot && backend < shm->head->max_backends &&
           ((uint32_t)(slot >> WHEN_BITS) & ((1 << LIFE_BITS) - 1)) == life_of(shm, backend);
}

static uint64_t *line_of(const struct lb_shm *shm, uint32_t pool, uint64_t hash)
{
    return shm->prefixes + (size_t)(pool % LB_PREFIX_TABLES) * LB_PREFIXES + (size_t)(hash % (LB_PREFIXES / WAYS)) * WAYS;
}

static uint32_t tag_of(uint64_t hash)
{
    return (uint32_t)(hash >> (64 - TAG_BITS));
}

static uint32_t most_of(uint32_t ttl_s)
{
    uint32_t most = ttl_s * 1000 >> WHEN_MS_BITS;
    return most ? most : 1;
}

void lb_prefixes_text(const struct lb_shm *shm, uint32_t pool, const void *bytes, size_t count, struct lb_blocks *blocks)
{
    struct lb_blocks_reader reader;
    lb_blocks_begin(&reader, blocks, shm->head->client_key, shm->pools[pool].tenant);
    lb_blocks_read_json(&reader, bytes, count);
}

void lb_prefixes_key(const struct lb_shm *shm, uint32_t pool, uint64_t key, struct lb_blocks *blocks)
{
    lb_blocks_of_key(blocks, shm->head->client_key, shm->pools[pool].tenant, key);
}

void lb_prefixes_find(const struct lb_shm *shm, uint32_t pool, uint64_t hash, uint32_t now_ms, struct lb_holders *holders)
{
    const uint64_t *line = line_of(shm, pool, hash);
    uint32_t most = most_of(shm->pools[pool].prefix_ttl_s), now = now_ms >> WHEN_MS_BITS;
    holders->count = 0;
    for (int i = 0; i < WAYS; i++) {
        uint64_t slot = __atomic_load_n(&line[i], __ATOMIC_RELAXED);
        if (tag_in(slot) != tag_of(hash) || !lives(shm, slot) || holders->count == LB_HOLDERS)
            continue;
        uint32_t age = age_of(slot, now);
        if (age <= most && age <= oldest_in_cache(shm, backend_in(slot), now))
            holders->backend[holders->count++] = backend_in(slot);
    }
}

/* The slot for a block of a backend: its own; the oldest of LB_HOLDERS that have the block; a free or dead one; the oldest of all. */
static void put(const struct lb_shm *shm, uint32_t pool, uint64_t hash, uint32_t backend, uint32_t now)
{
    uint64_t *line = line_of(shm, pool, hash), *oldest = NULL, *spare = line;
    uint32_t holders = 0, least = 0, most = 0;
    now &= (1 << WHEN_BITS) - 1;
    uint64_t word = (uint64_t)tag_of(hash) << (64 - TAG_BITS) | (uint64_t)backend << (WHEN_BITS + LIFE_BITS) |
                    (uint64_t)life_of(shm, backend) << WHEN_BITS | now;
    for (uint64_t *slot = line; slot < line + WAYS; slot++) {
        uint64_t old = __atomic_load_n(slot, __ATOMIC_RELAXED);
        if ((old ^ word) >> WHEN_BITS == 0) {
            if (old != word)
                __atomic_store_n(slot, word, __ATOMIC_RELAXED);
            return;
        }
        uint32_t age = lives(shm, old) ? age_of(old, now) + 1 : UINT32_MAX;
        if (age >= most) {
            most = age;
            spare = slot;
        }
        if (age == UINT32_MAX || tag_in(old) != tag_of(hash))
            continue;
        holders++;
        if (age >= least) {
            least = age;
            oldest = slot;
        }
    }
    __atomic_store_n(holders >= LB_HOLDERS ? oldest : spare, word, __ATOMIC_RELAXED);
}

void lb_prefixes_learn(const struct lb_shm *shm, uint32_t pool, const struct lb_blocks *blocks, uint32_t backend, uint32_t now_ms)
{
    for (uint32_t i = 0; i < blocks->count; i++)
        put(shm, pool, blocks->hash[i], backend, now_ms >> WHEN_MS_BITS);
    if (blocks->count)
        put(shm, pool, lb_blocks_last(blocks), backend, now_ms >> WHEN_MS_BITS);
    if (blocks->count && blocks->words)
        put(shm, pool, lb_blocks_last_at(blocks->hash[blocks->count - 1]), backend, now_ms >> WHEN_MS_BITS);
}

void lb_prefixes_learn_end(const struct lb_shm *shm, uint32_t pool, uint64_t end, uint32_t backend, uint32_t now_ms)
{
    put(shm, pool, end, backend, now_ms >> WHEN_MS_BITS);
}

void lb_prefixes_fill(const struct lb_shm *shm, uint32_t pool, uint32_t backend, uint32_t bytes, uint32_t now_ms)
{
    struct lb_home *home = &shm->homes[backend];
    uint32_t eighth = shm->pools[pool].prefix_cache_kib * (1024 / EIGHTHS);
    if (!eighth || __atomic_add_fetch(&home->fresh, bytes, __ATOMIC_RELAXED) < eighth)
        return;
    uint32_t turn =
        __atomic_fetch_add(&home->turns, 1, __ATOMIC_RELAXED); /* of two workers at once each takes one: a little too early */
    __atomic_store_n(&home->at[turn % EIGHTHS], (uint16_t)(now_ms >> WHEN_MS_BITS), __ATOMIC_RELAXED);
    __atomic_store_n(&home->fresh, 0, __ATOMIC_RELAXED);
}

void lb_prefixes_forget(const struct lb_shm *shm, uint32_t backend)
{
    struct lb_home *home = &shm->homes[backend];
    __atomic_store_n(&home->lately, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&home->given, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&home->fresh, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&home->turns, 0, __ATOMIC_RELAXED);
    __atomic_fetch_add(&home->life, 1, __ATOMIC_RELAXED);
}

int lb_prefixes_count(const struct lb_shm *shm, uint32_t backend)
{
    struct lb_home *home = &shm->homes[backend];
    __atomic_fetch_add(&home->given, 1, __ATOMIC_RELAXED);
    return __atomic_add_fetch(&home->lately, 1, __ATOMIC_RELAXED) >= LATELY;
}

void lb_prefixes_halve(const struct lb_shm *shm, uint32_t backend)
{
    uint32_t *lately = &shm->homes[backend].lately;
    __atomic_store_n(lately, __atomic_load_n(lately, __ATOMIC_RELAXED) / 2, __ATOMIC_RELAXED);
}
