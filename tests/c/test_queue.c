/* The queue of a pool: whose turn it is, by priority and by how long each has waited. */
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "l7/belongs.h"
#include "l7/queue.h"

enum { MOST = 16, TIMEOUT_MS = 1000 };

static const struct lb_limits limits = {.listeners = 1, .pools = 1, .backends = 1, .workers = 1};
static struct lb_worker_context ctx;
static struct lb_http_queue queues[1];
static struct lb_http_client client;
static struct lb_l7 l7;
static void *memory;

static void begin(void)
{
    uint64_t bytes = lb_shm_bytes(&limits);
    memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(memory != MAP_FAILED);
    CHECK(lb_shm_create(memory, &limits) == 0);
    ctx = (struct lb_worker_context){0};
    CHECK(lb_shm_attach(&ctx.shm, memory, bytes) == 0);
    ctx.row = lb_shm_worker(&ctx.shm, 0);
    ctx.shm.pools[0].queue = MOST / 2;
    ctx.shm.pools[0].queue_timeout_ms = TIMEOUT_MS;
    memset(queues, 0, sizeof queues);
    client = (struct lb_http_client){.trusted = 1};
    l7 = (struct lb_l7){.ctx = &ctx, .queues = queues};
    CHECK(lb_slab_open(&l7.exchanges, sizeof(struct lb_exchange), MOST) == 0);
    CHECK(lb_heads_open(&l7.heads, MOST) == 0);
}

static void end(void)
{
    lb_heads_close(&l7.heads);
    lb_slab_close(&l7.exchanges);
    munmap(memory, lb_shm_bytes(&limits));
}

/* A request that came at this time; NULL: it finds no room. */
static struct lb_exchange *came(int urgent, uint32_t at_ms)
{
    static const char *const asked[] = {"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
                                        "GET / HTTP/1.1\r\nHost: a\r\nX-LB-Priority: high\r\n\r\n"};
    struct lb_head_limits most = {LB_MOST_HEAD, LB_MOST_HEAD, LB_FIELD_ROOM};
    struct lb_exchange *exchange = lb_slab_at(&l7.exchanges, lb_slab_take(&l7.exchanges));
    uint32_t length = (uint32_t)strlen(asked[urgent]);
    memset(exchange, 0, sizeof *exchange);
    exchange->client = &client;
    exchange->waits_for = LB_NONE;
    exchange->in = (struct lb_input){.buffer = LB_SLAB_NONE};
    lb_input_pack(&l7, &exchange->in);
    memcpy(lb_input_at(&l7, &exchange->in), asked[urgent], length);
    exchange->in.end = length;
    CHECK(lb_message_request(&l7.message, lb_input_at(&l7, &exchange->in), length, &most) == LB_READ_DONE);
    if (lb_http_enqueue(&l7, exchange) < 0)
        return NULL;
    exchange->state = LB_EXCHANGE_QUEUED;
    exchange->since_ms = at_ms;
    return exchange;
}

/* Is this the order of all, up to NULL? */
static int is_order(struct lb_exchange *const *wanted)
{
    struct lb_queue_walk walk;
    lb_queue_walk_begin(&l7, 0, &walk);
    for (;; wanted++) {
        struct lb_exchange *found = lb_queue_walk_on(&l7, &walk);
        if (found != *wanted)
            return 0;
        if (!found)
            return 1;
    }
}

static void high_priority_goes_before_what_came_half_the_timeout_earlier(void)
{
    begin();
    struct lb_exchange *old = came(0, 1000), *normal = came(0, 1700), *urgent = came(1, 1600), *later = came(1, 2300);
    CHECK(is_order((struct lb_exchange *[]){old, urgent, normal, later, NULL}));
    CHECK(l7.queues[0].count == 4 && ctx.row->queued == 4 && ctx.row->requests_urgent == 2);
    lb_http_leave_queue(&l7, urgent);
    lb_http_leave_queue(&l7, old);
    CHECK(is_order((struct lb_exchange *[]){normal, later, NULL}));
    lb_http_leave_queue(&l7, later);
    lb_http_leave_queue(&l7, normal);
    CHECK(is_order((struct lb_exchange *[]){NULL}) && l7.queues[0].count == 0);
    end();
}

/* Low 32 bits of a clock. */
static void the_clock_may_turn_over(void)
{
    begin();
    struct lb_exchange *normal = came(0, UINT32_MAX - 100), *urgent = came(1, 50);
    CHECK(is_order((struct lb_exchange *[]){urgent, normal, NULL}));
    urgent->since_ms = 600;
    CHECK(is_order((struct lb_exchange *[]){normal, urgent, NULL}));
    end();
}

/* However many of high priority come, one of normal priority is overtaken by those of half a timeout only. */
static void normal_priority_has_its_turn(void)
{
    begin();
    struct lb_exchange *normal = came(0, 0), *found;
    uint32_t now_ms = 0;
    do {
        struct lb_queue_walk walk;
        CHECK(came(1, now_ms));
        lb_queue_walk_begin(&l7, 0, &walk);
        found = lb_queue_walk_on(&l7, &walk);
        lb_http_leave_queue(&l7, found);
        lb_input_drop(&l7, &found->in);
        lb_slab_give(&l7.exchanges, lb_http_index(&l7, found));
        now_ms += 10;
    } while (found != normal);
    CHECK(now_ms > TIMEOUT_MS / 2 && now_ms <= TIMEOUT_MS / 2 + 20);
    end();
}

static void each_priority_has_its_own_room(void)
{
    begin();
    for (int i = 0; i < MOST / 2 - 1; i++)
        CHECK(came(0, 0) != NULL);
    CHECK(came(1, 0) != NULL);
    CHECK(came(0, 0) != NULL);
    CHECK(came(0, 0) == NULL);
    CHECK(came(1, 0) != NULL);
    end();
}

int main(void)
{
    RUN(high_priority_goes_before_what_came_half_the_timeout_earlier);
    RUN(the_clock_may_turn_over);
    RUN(normal_priority_has_its_turn);
    RUN(each_priority_has_its_own_room);
    return 0;
}
