#include <string.h>

#include "check.h"
#include "l7/h1/client.h"
#include "l7/h1/end.h"
#include "l7/part.h"

static struct lb_worker_context ctx;
static struct lb_l7 l7;
static struct lb_h1 client;

static void begin(void)
{
    memset(&client, 0, sizeof client);
    client.in.buffer = LB_SLAB_NONE;
    l7 = (struct lb_l7){.ctx = &ctx};
    CHECK(lb_slab_open(&l7.exchanges, sizeof(struct lb_exchange), 4) == 0);
    CHECK(lb_heads_open(&l7.heads, 4) == 0);
}

static void end(void)
{
    CHECK(l7.exchanges.used == 0 && l7.heads.common.slab.used == 0);
    lb_heads_close(&l7.heads);
    lb_slab_close(&l7.exchanges);
}

/* "one" is asked for, "two" has come behind it. */
static struct lb_exchange *asked(void)
{
    lb_input_pack(&l7, &client.in);
    memcpy(lb_input_at(&l7, &client.in), "onetwo", 6);
    client.in.end = 6;
    struct lb_exchange *exchange = lb_h1_take_exchange(&l7, &client);
    exchange->in.next = 3;
    return exchange;
}

static void the_request_is_the_exchanges_and_what_follows_the_clients(void)
{
    begin();
    struct lb_exchange *exchange = asked();
    CHECK(client.exchange == exchange && exchange->client == &client.client);
    CHECK(client.in.buffer == LB_SLAB_NONE && !client.in.end && exchange->in.end == 6);
    lb_input_consume(&l7, &exchange->in);
    lb_h1_give_exchange(&l7, &client);
    CHECK(!client.exchange && client.in.end - client.in.start == 3);
    CHECK(memcmp(lb_input_at(&l7, &client.in) + client.in.start, "two", 3) == 0);
    lb_input_drop(&l7, &client.in);
    end();
}

static void one_leaves_nothing_to_the_next_in_its_place(void)
{
    begin();
    struct lb_exchange *exchange = asked();
    lb_http_keep_part(&l7, exchange, "HTTP/1.1 2", 10);
    exchange->tried_count = exchange->fresh_only = exchange->parts = exchange->open = 1;
    exchange->in.next = 6;
    lb_input_consume(&l7, &exchange->in);
    CHECK(exchange->in.buffer == LB_SLAB_NONE);
    lb_h1_give_exchange(&l7, &client);
    CHECK(l7.heads.common.slab.used == 0);
    struct lb_exchange *next = lb_h1_take_exchange(&l7, &client);
    CHECK(next == exchange && !next->tried_count && !next->fresh_only && !next->parts && !next->open && !next->part_end);
    CHECK(next->backend == LB_NONE && next->conn == LB_SLAB_NONE && next->part == LB_SLAB_NONE && next->log == LB_SLAB_NONE);
    lb_h1_give_exchange(&l7, &client);
    end();
}

static void its_timer_stays_set_for_the_next(void)
{
    begin();
    struct lb_exchange *exchange = lb_h1_take_exchange(&l7, &client);
    lb_wheel_open(&l7.exchange_wheel, 0);
    lb_timer_set_within(&l7.exchange_wheel, &exchange->timer, 1000);
    lb_h1_give_exchange(&l7, &client);
    CHECK(lb_h1_take_exchange(&l7, &client) == exchange && exchange->timer.next);
    lb_timer_cancel(&exchange->timer);
    CHECK(!exchange->timer.next);
    lb_h1_give_exchange(&l7, &client);
    end();
}

int main(void)
{
    RUN(the_request_is_the_exchanges_and_what_follows_the_clients);
    RUN(one_leaves_nothing_to_the_next_in_its_place);
    RUN(its_timer_stays_set_for_the_next);
    return 0;
}
