#include <string.h>

#include "check.h"
#include "l7/route_index.h"
#include "l7/body.h"
#include "l7/drive.h"
#include "l7/exchanges.h"

/* Exchanges between ends that are no sockets: what serves all codecs asks of them what stream.h says, and nothing else. */

static struct lb_listener_row listener;
static struct lb_pool_row pool;
static struct lb_worker_row row;
static struct lb_worker_context ctx;
static struct lb_l7 l7;
static struct lb_http_client client;

static struct {
    unsigned ready[2];
    const char *in; /* comes from the client's end; NULL: an end */
    char out[64];   /* went out to either */
    size_t out_count;
    int awaited;
    int done;
    enum lb_end why;
} seen;

static unsigned client_ready(const struct lb_exchange *exchange)
{
    (void)exchange;
    return seen.ready[LB_CLIENT];
}

static unsigned backend_ready(const struct lb_exchange *exchange)
{
    (void)exchange;
    return seen.ready[LB_BACKEND];
}

static enum lb_step give(struct lb_body_lane *body, struct lb_chunk_piece *piece)
{
    if (!seen.in)
        return LB_STEP_END;
    size_t count = strlen(seen.in);
    *piece = (struct lb_chunk_piece){.out = (char *)(uintptr_t)seen.in, .out_count = (uint32_t)count};
    lb_body_arrived(body, count);
    lb_body_moved(body, count);
    lb_body_took(body->body, count);
    seen.in = NULL;
    return LB_STEP_MOVED;
}

static enum lb_step take(struct lb_body_lane *body, const char *bytes, size_t count)
{
    (void)body;
    memcpy(seen.out, bytes, count);
    seen.out_count = count;
    return LB_STEP_MOVED;
}

static enum lb_step break_down(struct lb_body_lane *body, const char *bytes, size_t count)
{
    (void)body, (void)bytes, (void)count;
    return LB_STEP_TO_FAILED;
}

static int nothing_held(struct lb_l7 *of, struct lb_exchange *exchange)
{
    (void)of, (void)exchange;
    return 1;
}

static size_t local(struct lb_l7 *of, const struct lb_exchange *exchange, struct lb_verdict said)
{
    (void)exchange;
    return (size_t)sprintf(of->out, "%u %u", said.status, said.number);
}

static struct lb_verdict done(struct lb_l7 *of, struct lb_exchange *exchange)
{
    lb_exchange_give(of, exchange);
    seen.done++;
    return lb_verdict(LB_NEXT_AGAIN);
}

static void reset(struct lb_l7 *of, struct lb_exchange *exchange, enum lb_end why)
{
    lb_exchange_give(of, exchange);
    seen.why = why;
}

static struct lb_verdict await(struct lb_l7 *of, struct lb_exchange *exchange)
{
    (void)of;
    seen.awaited++;
    exchange->stage = LB_RESPONSE_WHOLE;
    return lb_verdict(LB_NEXT_AGAIN);
}

static const struct lb_stream_ops client_ops = {
    .ready = client_ready, .read = give, .data = take, .flush = nothing_held, .local = local, .done = done, .reset = reset};
static const struct lb_stream_ops backend_ops = {.ready = backend_ready, .data = take, .flush = nothing_held, .await = await};
static const struct lb_stream_ops broken_ops = {
    .ready = backend_ready, .data = break_down, .flush = nothing_held, .await = await};

static struct lb_exchange *begin(const struct lb_stream_ops *backend)
{
    static char out[64];
    static struct lb_routes routes; /* none: heads are not edited */
    memset(&seen, 0, sizeof seen);
    ctx = (struct lb_worker_context){.row = &row, .shm = {.listeners = &listener, .pools = &pool}, .now_us = 1000000};
    l7 = (struct lb_l7){.ctx = &ctx, .out = out, .routes = &routes};
    listener.state = LB_ROW_LIVE;
    pool.retry_after_s = 7;
    CHECK(lb_buffer_pool_open(&ctx.buffers, LB_BUFFER_BYTES, 2, 2) == 0);
    CHECK(lb_slab_open(&l7.exchanges, sizeof(struct lb_exchange), 2) == 0);
    CHECK(lb_heads_open(&l7.heads, 2) == 0);
    lb_wheel_open(&l7.exchange_wheel, 1000);
    struct lb_exchange *exchange = lb_exchange_take(&l7, &client);
    exchange->stream[LB_CLIENT] = (struct lb_stream){.ops = &client_ops};
    exchange->stream[LB_BACKEND] = (struct lb_stream){.ops = backend};
    exchange->request = (struct lb_body){.framing = LB_BODY_LENGTH, .left = 5};
    exchange->state = LB_EXCHANGE_FORWARDING;
    exchange->persistent = exchange->conn_keeps = 1;
    return exchange;
}

static void end(struct lb_exchange *exchange)
{
    lb_timer_cancel(&exchange->timer);
    CHECK(l7.exchanges.used == 0);
    lb_heads_close(&l7.heads);
    lb_slab_close(&l7.exchanges);
    lb_buffer_pool_close(&ctx.buffers);
}

static void a_body_goes_from_an_end_to_the_other_when_both_are_ready(void)
{
    struct lb_exchange *exchange = begin(&backend_ops);
    seen.in = "abcde";
    seen.ready[LB_CLIENT] = LB_CAN_READ | LB_CAN_SEND;
    CHECK(lb_drive_step(&l7, exchange).next == LB_NEXT_WAIT && !seen.out_count && exchange->stalled);
    seen.ready[LB_BACKEND] = LB_CAN_SEND;
    CHECK(lb_drive_step(&l7, exchange).next == LB_NEXT_AGAIN && !exchange->stalled);
    CHECK(seen.out_count == 5 && memcmp(seen.out, "abcde", 5) == 0);
    CHECK(exchange->request.whole && exchange->bytes_in == 5);
    lb_exchange_give(&l7, exchange);
    end(exchange);
}

static void a_client_that_ends_in_the_middle_is_reset(void)
{
    struct lb_exchange *exchange = begin(&backend_ops);
    seen.ready[LB_CLIENT] = LB_CAN_READ;
    seen.ready[LB_BACKEND] = LB_CAN_SEND;
    struct lb_verdict said = lb_drive_step(&l7, exchange);
    CHECK(said.next == LB_NEXT_END);
    CHECK(lb_drive(&l7, exchange, said).next == LB_NEXT_OVER && seen.why == LB_ENDED_CLIENT);
    end(exchange);
}

static void a_backend_that_takes_no_more_is_still_heard(void)
{
    struct lb_exchange *exchange = begin(&broken_ops);
    seen.in = "abc";
    seen.ready[LB_CLIENT] = LB_CAN_READ | LB_CAN_SEND;
    seen.ready[LB_BACKEND] = LB_CAN_READ | LB_CAN_SEND;
    CHECK(lb_drive_step(&l7, exchange).next == LB_NEXT_AGAIN);
    CHECK(exchange->deaf && !exchange->persistent && !exchange->conn_keeps && seen.awaited == 1);
    CHECK(lb_drive_step(&l7, exchange).next == LB_NEXT_FINISH);
    CHECK(lb_drive(&l7, exchange, lb_verdict(LB_NEXT_FINISH)).next == LB_NEXT_AGAIN && seen.done == 1);
    end(exchange);
}

static void a_response_is_awaited_only_when_its_client_takes_it(void)
{
    struct lb_exchange *exchange = begin(&backend_ops);
    exchange->request.whole = 1;
    seen.ready[LB_BACKEND] = LB_CAN_READ;
    CHECK(lb_drive_step(&l7, exchange).next == LB_NEXT_WAIT && !seen.awaited);
    seen.ready[LB_CLIENT] = LB_CAN_SEND;
    CHECK(lb_drive_step(&l7, exchange).next == LB_NEXT_AGAIN && seen.awaited == 1);
    lb_exchange_give(&l7, exchange);
    end(exchange);
}

static void our_own_response_is_composed_and_sent_by_the_clients_codec(void)
{
    struct lb_exchange *exchange = begin(&backend_ops);
    struct lb_verdict said = lb_drive(&l7, exchange, lb_verdict_respond(503, "no"));
    CHECK(said.next == LB_NEXT_AGAIN && exchange->state == LB_EXCHANGE_RESPONDING);
    CHECK(seen.out_count == 5 && memcmp(seen.out, "503 7", 5) == 0);
    CHECK(lb_drive_step(&l7, exchange).next == LB_NEXT_FINISH);
    lb_exchange_give(&l7, exchange);
    end(exchange);
}

int main(void)
{
    RUN(a_body_goes_from_an_end_to_the_other_when_both_are_ready);
    RUN(a_client_that_ends_in_the_middle_is_reset);
    RUN(a_backend_that_takes_no_more_is_still_heard);
    RUN(a_response_is_awaited_only_when_its_client_takes_it);
    RUN(our_own_response_is_composed_and_sent_by_the_clients_codec);
    return 0;
}
