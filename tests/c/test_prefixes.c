#include <arpa/inet.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "table/load.h"
#include "table/prefixes.h"
#include "table/table.h"
#include "table/view.h"

enum { BACKENDS = 8, TTL_S = 3600 };

static const struct lb_limits limits = {.listeners = 1, .pools = 2, .backends = BACKENDS, .workers = 2};
static const uint8_t key[16] = "a secret of test";
static struct lb_shm shm;
static void *memory;

static void open_table(uint32_t backends)
{
    uint64_t bytes = lb_shm_bytes(&limits);
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(memory != MAP_FAILED);
    CHECK(lb_shm_create(memory, &limits) == 0);
    CHECK(lb_shm_attach(&shm, memory, bytes) == 0);
    memcpy(shm.head->client_key, key, sizeof key);
    shm.pools[0].policy = LB_PREFIX;
    shm.pools[0].state = LB_ROW_LIVE;
    shm.pools[0].prefix_ttl_s = TTL_S;
    for (uint32_t i = 0; i < backends; i++) {
        struct lb_backend_spec spec = {.pool = 0, .weight = 1, .family = AF_INET, .port = 80, .address = "a:80", .source = "api"};
        CHECK(lb_table_put(&shm, i, &spec) > 0);
        lb_table_set_state(&shm, i, LB_UP, "test");
    }
    CHECK(lb_view_publish(&shm, 0) == backends);
}

static void close_table(void)
{
    munmap(memory, lb_shm_bytes(&limits));
}

static void fill(char *text, size_t count, unsigned seed)
{
    for (size_t i = 0; i < count; i++)
        text[i] = (char)('a' + (seed = seed * 1103515245 + 12345) / 65536 % 26);
}

static struct lb_blocks blocks_of(const char *text, size_t count)
{
    struct lb_blocks blocks = {0};
    lb_prefixes_text(&shm, 0, text, count, &blocks);
    return blocks;
}

/* --- the table ------------------------------------------------------------------------------------------------------ */

static int holds(uint64_t hash, uint32_t backend, uint32_t now_ms)
{
    struct lb_holders holders;
    lb_prefixes_find(&shm, 0, hash, now_ms, &holders);
    CHECK(holders.count <= LB_HOLDERS);
    for (uint32_t i = 0; i < holders.count; i++)
        if (holders.backend[i] == backend)
            return 1;
    return 0;
}

static void what_a_backend_had_is_known_until_it_ages_or_begins_anew(void)
{
    char text[2000];
    open_table(3);
    fill(text, sizeof text, 4);
    struct lb_blocks blocks = blocks_of(text, sizeof text);
    uint64_t last = blocks.hash[blocks.count - 1];
    CHECK(!holds(last, 1, 0));
    lb_prefixes_learn(&shm, 0, &blocks, 1, 0);
    CHECK(holds(last, 1, 0) && holds(blocks.hash[0], 1, 0) && !holds(last, 2, 0));
    CHECK(holds(last, 1, (TTL_S - 10) * 1000) && !holds(last, 1, (TTL_S + 10) * 1000));
    lb_prefixes_learn(&shm, 0, &blocks, 1, TTL_S * 1000);
    CHECK(holds(last, 1, (TTL_S + 10) * 1000));
    lb_table_set_state(&shm, 1, LB_DRAINING, "it comes back");
    lb_table_set_state(&shm, 1, LB_UP, "the same process");
    CHECK(holds(last, 1, TTL_S * 1000));
    lb_table_set_state(&shm, 1, LB_DOWN, "it died");
    lb_table_set_state(&shm, 1, LB_UP, "a new one");
    CHECK(!holds(last, 1, TTL_S * 1000));
    lb_prefixes_learn(&shm, 0, &blocks, 1, TTL_S * 1000);
    CHECK(holds(last, 1, TTL_S * 1000));
    close_table();
}

static void the_clock_may_wrap(void)
{
    char text[500];
    open_table(1);
    fill(text, sizeof text, 5);
    struct lb_blocks blocks = blocks_of(text, sizeof text);
    lb_prefixes_learn(&shm, 0, &blocks, 0, UINT32_MAX - 1000);
    CHECK(holds(blocks.hash[0], 0, 60000));
    close_table();
}

static void of_a_block_that_all_have_a_few_holders_are_kept(void)
{
    char text[500];
    open_table(BACKENDS);
    fill(text, sizeof text, 6);
    struct lb_blocks blocks = blocks_of(text, sizeof text);
    for (uint32_t i = 0; i < BACKENDS; i++)
        lb_prefixes_learn(&shm, 0, &blocks, i, i * 10000);
    for (uint32_t i = 0; i < BACKENDS; i++)
        CHECK(holds(blocks.hash[0], i, BACKENDS * 10000) == (i >= BACKENDS - LB_HOLDERS));
    close_table();
}

static void memory_is_bounded_and_the_oldest_goes_first(void)
{
    static char text[40000];
    open_table(2);
    fill(text, sizeof text, 7);
    struct lb_blocks kept = blocks_of(text, sizeof text);
    lb_prefixes_learn(&shm, 0, &kept, 0, 0);
    uint32_t rounds = 2 * LB_PREFIXES / LB_BLOCKS * 4, known = 0;
    for (uint32_t i = 0; i < rounds; i++) {
        memcpy(text, &i, sizeof i);
        struct lb_blocks other = blocks_of(text, sizeof text);
        lb_prefixes_learn(&shm, 0, &other, 1, i * 100);
        if (i % 100 == 0)
            lb_prefixes_learn(&shm, 0, &kept, 0, i * 100); /* asked for again and again */
    }
    for (uint32_t i = 0; i < kept.count; i++)
        known += (uint32_t)holds(kept.hash[i], 0, rounds * 100);
    CHECK(known > kept.count * 9 / 10);
    close_table();
}

static void what_other_texts_pushed_out_of_a_cache_is_forgotten(void)
{
    static char text[40000];
    open_table(2);
    shm.pools[0].prefix_cache_kib = 256;
    fill(text, sizeof text, 10);
    text[0] = '"';
    struct lb_blocks old = blocks_of(text, sizeof text), used = {0}, other = {0};
    text[1] = '+';
    used = blocks_of(text, sizeof text);
    lb_prefixes_learn(&shm, 0, &old, 0, 0);
    for (uint32_t i = 1; i <= 9; i++) {
        CHECK(holds(old.hash[0], 0, i * 5000) == (i < 9)); /* 256 KiB and an eighth are nine times 32 KiB */
        memcpy(text + 1, &i, sizeof i);
        other = blocks_of(text, sizeof text);
        lb_prefixes_learn(&shm, 0, &other, 0, i * 5000);
        lb_prefixes_learn(&shm, 0, &used, 0, i * 5000);
        lb_prefixes_fill(&shm, 0, 0, 32 << 10, i * 5000);
    }
    CHECK(!holds(old.hash[0], 0, 45000) && holds(used.hash[0], 0, 45000) && holds(other.hash[0], 0, 45000));
    lb_prefixes_learn(&shm, 0, &old, 0, 45000);
    CHECK(holds(old.hash[0], 0, 45000)); /* it was computed anew */
    lb_prefixes_fill(&shm, 0, 1, UINT32_MAX / 2, 45000);
    CHECK(holds(other.hash[0], 0, 45000)); /* each has a cache of its own */
    close_table();
}

/* --- picks ---------------------------------------------------------------------------------------------------------- */

static struct lb_thought thought;

static uint32_t acquire(const struct lb_blocks *blocks, struct lb_cursor *cursor)
{
    struct lb_wish wish = {.blocks = blocks, .thought = &thought};
    return lb_view_acquire(&shm, 0, &wish, cursor, 1);
}

/* A conversation of so many turns, each with a word of its own. */
static size_t say(char *text, unsigned conversation, int turns)
{
    size_t at = 0;
    text[at++] = '[';
    for (int i = 0; i < turns; i++)
        at += (size_t)sprintf(text + at, "%s{\"role\":\"user\",\"content\":\"words of %s%u in turn %d\"}", i ? "," : "",
                              i ? "" : "all that are not of ", i ? conversation : 0, i);
    text[at++] = ']';
    return at;
}

static void a_conversation_stays_and_others_are_spread(void)
{
    char text[4000];
    uint32_t home[12], counts[4] = {0};
    struct lb_cursor cursor = {.seed = 1};
    open_table(4);
    for (int turn = 2; turn < 12; turn++)
        for (unsigned i = 0; i < 12; i++) {
            struct lb_blocks blocks = blocks_of(text, say(text, i, turn));
            uint32_t backend = acquire(&blocks, &cursor);
            CHECK(backend < 4 && thought.blocks == blocks.count);
            if (turn == 2) {
                home[i] = backend;
                counts[backend]++;
                CHECK(thought.why == (i ? LB_WHY_SHARED : LB_WHY_NEW) || thought.why == LB_WHY_NEW);
            } else {
                CHECK(backend == home[i] && thought.why == LB_WHY_PREFIX);
                CHECK(thought.matched && thought.had == thought.matched);
            }
            lb_load_give(&shm, 0, 0, backend, 1);
        }
    for (int i = 0; i < 4; i++)
        CHECK(counts[i] >= 2 && counts[i] <= 4);
    lb_table_set_state(&shm, home[0], LB_DOWN, "died");
    CHECK(lb_view_publish(&shm, 0) == 3);
    for (unsigned i = 0; i < 12; i++) {
        struct lb_blocks blocks = blocks_of(text, say(text, i, 12));
        uint32_t backend = acquire(&blocks, &cursor);
        CHECK(home[i] == home[0] ? backend != home[0] : backend == home[i]); /* its conversations move, no others */
        lb_load_give(&shm, 0, 0, backend, 1);
    }
    close_table();
}

static void who_has_too_much_under_way_is_passed_over(void)
{
    char text[4000];
    struct lb_cursor cursor = {.seed = 1};
    open_table(4);
    struct lb_blocks blocks = blocks_of(text, say(text, 1, 2));
    uint32_t home = acquire(&blocks, &cursor), turns = 0;
    do {
        blocks = blocks_of(text, say(text, 1, 3));
        turns++;
    } while (turns < 100 && acquire(&blocks, &cursor) == home);
    CHECK(turns >= 10 && turns < 20 && thought.why == LB_WHY_CROWDED);
    CHECK(thought.candidate[0] == home && thought.candidate[1] != home);
    close_table();
}

static void a_question_that_all_ask_goes_to_all(void)
{
    char text[4000];
    uint32_t counts[4] = {0};
    struct lb_cursor cursor = {.seed = 1};
    open_table(4);
    for (int i = 0; i < 64; i++) {
        struct lb_blocks blocks = blocks_of(text, say(text, 1, 2));
        counts[acquire(&blocks, &cursor)]++;
    }
    for (int i = 0; i < 4; i++)
        CHECK(counts[i] >= 13 && counts[i] <= 19);
    close_table();
}

static void what_many_continue_is_spread(void)
{
    char text[4000];
    uint32_t counts[4] = {0};
    struct lb_cursor cursor = {.seed = 1};
    open_table(4);
    struct lb_blocks blocks = blocks_of(text, say(text, 0, 8));
    lb_load_give(&shm, 0, 0, acquire(&blocks, &cursor), 1);
    for (unsigned i = 1; i <= 64; i++) { /* each goes on in its own words */
        size_t count = say(text, 0, 8);
        blocks = blocks_of(text, count - 1 + (size_t)sprintf(text + count - 1, ",{\"question\": %u, \"of\": \"many\"}]", i));
        counts[acquire(&blocks, &cursor)]++;
    }
    for (int i = 0; i < 4; i++)
        CHECK(counts[i] >= 11 && counts[i] <= 21);
    close_table();
}

static void a_string_is_known_by_its_last_words(void)
{
    static char text[3000];
    struct lb_cursor cursor = {.seed = 1};
    open_table(4);
    fill(text, sizeof text, 8);
    text[0] = '"';
    struct lb_blocks blocks = blocks_of(text, 2500);
    CHECK(blocks.words && blocks.ends == 2500 / 16);
    uint32_t home = acquire(&blocks, &cursor);
    for (size_t count = 2520; count < sizeof text; count += 40) { /* most turns end in the block of the one before */
        lb_load_give(&shm, 0, 0, home, 1);
        blocks = blocks_of(text, count);
        CHECK(acquire(&blocks, &cursor) == home && thought.why == LB_WHY_PREFIX);
    }
    close_table();
}

static void pools_do_not_disturb_each_other(void)
{
    static char text[40000];
    open_table(2);
    shm.pools[1].prefix_ttl_s = TTL_S;
    fill(text, sizeof text, 9);
    struct lb_blocks kept = blocks_of(text, sizeof text), other;
    lb_prefixes_learn(&shm, 0, &kept, 0, 0);
    for (uint32_t i = 0; i < LB_PREFIXES / 48; i++) { /* twice as many blocks as a table has */
        memcpy(text, &i, sizeof i);
        lb_prefixes_text(&shm, 1, text, sizeof text, &other);
        lb_prefixes_learn(&shm, 1, &other, 1, 1000);
    }
    for (uint32_t i = 0; i < kept.count; i++)
        CHECK(holds(kept.hash[i], 0, 1000));
    close_table();
}

static void a_whole_key_is_kept_together(void)
{
    struct lb_cursor cursor = {.seed = 1};
    uint32_t counts[4] = {0};
    open_table(4);
    for (uint64_t name = 1; name <= 100; name++) {
        struct lb_blocks blocks;
        lb_prefixes_key(&shm, 0, name, &blocks);
        uint32_t first = acquire(&blocks, &cursor);
        counts[first]++;
        lb_load_give(&shm, 0, 0, first, 1);
        CHECK(acquire(&blocks, &cursor) == first && thought.why == LB_WHY_PREFIX);
        lb_load_give(&shm, 0, 0, first, 1);
    }
    for (int i = 0; i < 4; i++)
        CHECK(counts[i] >= 20 && counts[i] <= 30);
    struct lb_blocks none = {0};
    CHECK(acquire(&none, &cursor) < 4 && thought.why == LB_WHY_BETTER); /* p2c */
    close_table();
}

/* --- several workers ------------------------------------------------------------------------------------------------ */

static int stop;

static void *ask_all_the_time(void *argument)
{
    uint32_t worker = (uint32_t)(uintptr_t)argument;
    struct lb_cursor cursor = {.seed = worker + 1};
    char text[4000];
    for (unsigned i = 0; !__atomic_load_n(&stop, __ATOMIC_RELAXED); i++) {
        struct lb_blocks blocks = blocks_of(text, say(text, i % 50, 2 + (int)(i / 50 % 10)));
        struct lb_wish wish = {.blocks = &blocks, .worker = worker, .now_ms = i};
        uint32_t backend = lb_view_acquire(&shm, 0, &wish, &cursor, 1);
        CHECK(backend == LB_NONE || backend < BACKENDS);
        if (backend != LB_NONE)
            lb_load_give(&shm, worker, 0, backend, 1);
    }
    return NULL;
}

static void workers_share_what_they_learn_without_a_lock(void)
{
    pthread_t threads[2];
    open_table(BACKENDS);
    for (uintptr_t i = 0; i < 2; i++)
        CHECK(pthread_create(&threads[i], NULL, ask_all_the_time, (void *)i) == 0);
    for (uint32_t i = 0; i < 400; i++) {
        lb_table_set_state(&shm, i % BACKENDS, i / BACKENDS % 2 ? LB_UP : LB_DOWN, "turn");
        CHECK(lb_view_publish(&shm, 0) >= 0);
    }
    __atomic_store_n(&stop, 1, __ATOMIC_RELAXED);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    CHECK(lb_load_of_pool(&shm, 0) == 0);
    close_table();
}

int main(void)
{
    RUN(what_a_backend_had_is_known_until_it_ages_or_begins_anew);
    RUN(the_clock_may_wrap);
    RUN(of_a_block_that_all_have_a_few_holders_are_kept);
    RUN(memory_is_bounded_and_the_oldest_goes_first);
    RUN(what_other_texts_pushed_out_of_a_cache_is_forgotten);
    RUN(a_conversation_stays_and_others_are_spread);
    RUN(who_has_too_much_under_way_is_passed_over);
    RUN(a_question_that_all_ask_goes_to_all);
    RUN(what_many_continue_is_spread);
    RUN(a_string_is_known_by_its_last_words);
    RUN(pools_do_not_disturb_each_other);
    RUN(a_whole_key_is_kept_together);
    RUN(workers_share_what_they_learn_without_a_lock);
    return 0;
}
