#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "core/buffer_pool.h"
#include "core/pipe_pool.h"
#include "core/slab.h"
#include "l7/heads.h"

static void slab_hands_out_each_index_once_up_to_its_limit(void)
{
    struct lb_slab slab;
    int seen[100] = {0};
    CHECK(lb_slab_open(&slab, 24, 100) == 0);
    for (int i = 0; i < 100; i++) {
        uint32_t index = lb_slab_take(&slab);
        CHECK(index < 100 && !seen[index]++);
        memset(lb_slab_at(&slab, index), 0xff, 24);
    }
    CHECK(lb_slab_take(&slab) == LB_SLAB_NONE);
    lb_slab_give(&slab, 42);
    CHECK(lb_slab_take(&slab) == 42);
    CHECK(slab.used == 100);
    lb_slab_close(&slab);
}

static void slab_of_nothing_is_refused(void)
{
    struct lb_slab slab;
    CHECK(lb_slab_open(&slab, 24, 0) < 0);
    lb_slab_close(&slab);
}

static void buffers_are_whole_and_bounded(void)
{
    struct lb_buffer_pool pool;
    CHECK(lb_buffer_pool_open(&pool, LB_BUFFER_BYTES, 200, 64) == 0);
    for (uint32_t i = 0; i < 200; i++) {
        CHECK(lb_buffer_pool_ready(&pool));
        uint32_t buffer = lb_buffer_take(&pool);
        memset(lb_buffer_at(&pool, buffer), (int)i, LB_BUFFER_BYTES);
    }
    CHECK(!lb_buffer_pool_ready(&pool));
    for (uint32_t i = 0; i < 200; i++) {
        CHECK(*lb_buffer_at(&pool, i) == (char)i);
        lb_buffer_give(&pool, i);
    }
    CHECK(lb_buffer_pool_ready(&pool));
    lb_buffer_pool_close(&pool);
}

/* How many of these buffers have memory. */
static uint32_t resident(const struct lb_buffer_pool *pool, uint32_t count)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < count; i++) {
        unsigned char pages[LB_BUFFER_BYTES / 4096];
        CHECK(mincore(lb_buffer_at(pool, i), LB_BUFFER_BYTES, pages) == 0);
        found += pages[0] & 1;
    }
    return found;
}

static void use(struct lb_buffer_pool *pool, uint32_t count)
{
    uint32_t taken[200];
    for (uint32_t i = 0; i < count; i++)
        *lb_buffer_at(pool, taken[i] = lb_buffer_take(pool)) = 1;
    for (uint32_t i = 0; i < count; i++)
        lb_buffer_give(pool, taken[i]);
}

/* Turns of the loop until nothing is to be given back: when that was. */
static uint64_t trim_all(struct lb_buffer_pool *pool, uint64_t now_ms)
{
    lb_buffer_pool_trim(pool, now_ms);
    for (int i = 0; i < 50 && lb_buffer_pool_wait(pool, now_ms) >= 0; i++) {
        now_ms += (uint64_t)lb_buffer_pool_wait(pool, now_ms);
        lb_buffer_pool_trim(pool, now_ms);
    }
    CHECK(lb_buffer_pool_wait(pool, now_ms) == -1);
    return now_ms;
}

static void memory_of_buffers_goes_back_when_it_was_not_needed_for_a_second(void)
{
    struct lb_buffer_pool pool;
    CHECK(lb_buffer_pool_open(&pool, LB_BUFFER_BYTES, 200, 10) == 0);
    lb_buffer_pool_trim(&pool, 1);
    CHECK(lb_buffer_pool_wait(&pool, 1) == -1);
    use(&pool, 200);
    lb_buffer_pool_trim(&pool, 1);
    CHECK(lb_buffer_pool_wait(&pool, 1) == 1000 && resident(&pool, 200) == 200);
    use(&pool, 50); /* the warmest */
    lb_buffer_pool_trim(&pool, 1000);
    CHECK(resident(&pool, 200) == 200);
    lb_buffer_pool_trim(&pool, 1001);
    CHECK(resident(&pool, 200) == 136 && lb_buffer_pool_wait(&pool, 1001) == 16); /* some at once */
    uint64_t now_ms = trim_all(&pool, 1001);
    CHECK(now_ms >= 2000 && resident(&pool, 200) == 10);
    use(&pool, 200); /* memory comes again, as it was never used */
    CHECK(resident(&pool, 200) == 200);
    trim_all(&pool, now_ms);
    CHECK(resident(&pool, 200) == 10);
    lb_buffer_pool_close(&pool);
}

static void memory_of_buffers_that_are_held_stays(void)
{
    struct lb_buffer_pool pool;
    CHECK(lb_buffer_pool_open(&pool, LB_BUFFER_BYTES, 200, 10) == 0);
    uint32_t held = LB_SLAB_NONE;
    for (int i = 0; i < 100; i++)
        memset(lb_buffer_at(&pool, held = lb_buffer_take(&pool)), i, LB_BUFFER_BYTES);
    for (uint32_t i = 0; i < held; i++)
        lb_buffer_give(&pool, i);
    trim_all(&pool, 1);
    CHECK(*lb_buffer_at(&pool, held) == 99 && resident(&pool, 100) == 10);
    use(&pool, 30);
    lb_buffer_give(&pool, held);
    trim_all(&pool, 5000);
    CHECK(resident(&pool, 100) == 10);
    lb_buffer_pool_close(&pool);
}

/* A head grows once, with what is there of it, while large buffers are left. */
static void heads_grow_while_there_is_room(void)
{
    static struct lb_worker_context ctx;
    struct lb_heads heads;
    CHECK(lb_buffer_pool_open(&ctx.large, LB_LARGE_BYTES, 2, 1) == 0 && lb_heads_open(&heads, 2) == 0);
    uint32_t head[3];
    for (int i = 0; i < 3; i++) {
        head[i] = lb_heads_take(&heads);
        CHECK(lb_heads_room(head[i]) == LB_HEAD_BYTES);
        memset(lb_heads_at(&ctx, &heads, head[i]), 'a' + i, LB_HEAD_BYTES);
        CHECK(lb_heads_grow(&ctx, &heads, &head[i], LB_HEAD_BYTES) == (i < 2 ? 0 : -ENOBUFS));
    }
    for (int i = 0; i < 3; i++) {
        const char *bytes = lb_heads_at(&ctx, &heads, head[i]);
        CHECK(bytes[0] == 'a' + i && bytes[LB_HEAD_BYTES - 1] == 'a' + i);
        CHECK(lb_heads_room(head[i]) == (i < 2 ? LB_MOST_READ : LB_HEAD_BYTES));
    }
    CHECK(lb_heads_grow(&ctx, &heads, &head[0], LB_HEAD_BYTES) == -ENOBUFS); /* it is large already */
    CHECK(heads.common.slab.used == 1 && ctx.large.slab.used == 2);
    for (int i = 0; i < 3; i++)
        lb_heads_give(&ctx, &heads, head[i]);
    CHECK(heads.common.slab.used == 0 && ctx.large.slab.used == 0);
    lb_heads_close(&heads);
    lb_buffer_pool_close(&ctx.large);
}

/* Each has the room that was asked for, and grows to the common size first. */
static void small_heads_are_as_small_as_they_may_be(void)
{
    static struct lb_worker_context ctx;
    struct lb_heads heads;
    static const uint32_t asked[] = {1, 256, 257, 2048, 2049}, rooms[] = {256, 256, 512, 2048, LB_HEAD_BYTES};
    uint32_t head[5];
    CHECK(lb_buffer_pool_open(&ctx.large, LB_LARGE_BYTES, 5, 1) == 0 && lb_heads_open(&heads, 5) == 0);
    for (int i = 0; i < 5; i++) {
        head[i] = lb_heads_take_small(&heads, asked[i]);
        CHECK(lb_heads_room(head[i]) == rooms[i]);
        memset(lb_heads_at(&ctx, &heads, head[i]), 'a' + i, rooms[i]);
    }
    CHECK(!lb_heads_is_too_large(head[0], 1) && !lb_heads_is_too_large(head[4], 2049) && lb_heads_is_too_large(head[4], 2048));
    for (int i = 0; i < 5; i++) {
        CHECK(lb_heads_grow(&ctx, &heads, &head[i], rooms[i]) == 0);
        CHECK(lb_heads_room(head[i]) == (i < 4 ? LB_HEAD_BYTES : LB_MOST_READ));
        const char *bytes = lb_heads_at(&ctx, &heads, head[i]);
        CHECK(bytes[0] == 'a' + i && bytes[rooms[i] - 1] == 'a' + i);
        lb_heads_give(&ctx, &heads, head[i]);
    }
    for (int i = 0; i < LB_SMALL_SIZES; i++)
        CHECK(heads.small[i].used == 0);
    CHECK(heads.common.slab.used == 0 && ctx.large.slab.used == 0);
    lb_heads_close(&heads);
    lb_buffer_pool_close(&ctx.large);
}

static int open_descriptors(void)
{
    int count = 0;
    for (int fd = 0; fd < 256; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void a_pipe_with_bytes_in_it_never_comes_back(void)
{
    struct lb_pipe_pool pool;
    char byte;
    int before = open_descriptors();
    CHECK(lb_pipe_pool_open(&pool, 2) == 0);
    uint32_t one = lb_pipe_take(&pool), two = lb_pipe_take(&pool);
    CHECK(lb_pipe_take(&pool) == LB_SLAB_NONE);
    CHECK(write(lb_pipe_at(&pool, one)->in, "x", 1) == 1);
    lb_pipe_give(&pool, one, 0);
    lb_pipe_give(&pool, two, 1);
    CHECK(open_descriptors() == before + 2);
    for (int i = 0; i < 2; i++) {
        uint32_t pipe = lb_pipe_take(&pool);
        CHECK(read(lb_pipe_at(&pool, pipe)->out, &byte, 1) < 0);
    }
    lb_pipe_pool_close(&pool);
    CHECK(open_descriptors() == before);
}

int main(void)
{
    RUN(slab_hands_out_each_index_once_up_to_its_limit);
    RUN(slab_of_nothing_is_refused);
    RUN(buffers_are_whole_and_bounded);
    RUN(memory_of_buffers_goes_back_when_it_was_not_needed_for_a_second);
    RUN(memory_of_buffers_that_are_held_stays);
    RUN(heads_grow_while_there_is_room);
    RUN(small_heads_are_as_small_as_they_may_be);
    RUN(a_pipe_with_bytes_in_it_never_comes_back);
    return 0;
}
