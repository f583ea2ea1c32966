#include "twin.h"

#include <string.h>

#include "belongs.h"
#include "caller.h"
#include "exchanges.h"
#include "finish.h"
#include "input.h"

/* Whose twin is over waits for none. */
static void leave_request(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    if (exchange->hedging == LB_HEDGE_TWIN)
        lb_http_at(l7, exchange->hedge)->hedging = LB_HEDGE_NONE;
}

/* All that it has is given back. */
static void give(struct lb_l7 *l7, struct lb_twin *twin)
{
    leave_request(l7, twin->exchange);
    if (twin->exchange->hedging == LB_HEDGE_NONE)
        lb_add(&l7->ctx->row->mirrors_active, UINT64_MAX); /* one less */
    lb_input_drop(l7, &twin->exchange->in);
    lb_exchange_give(l7, twin->exchange);
    lb_conn_drop_own(&l7->conns, &twin->client.own);
    twin->exchange = NULL;
    if (twin->asker != LB_SLAB_NONE) /* it is to be told */
        lb_twin_ready(l7, twin);
    if (!twin->client.queued) /* else the list gives it back */
        lb_slab_give(&l7->twins, lb_slab_index(&l7->twins, twin));
}

/* --- its exchange's end here: it takes whatever comes, and keeps nothing ------------------------------------------------- */

static unsigned ready(const struct lb_exchange *exchange)
{
    (void)exchange;
    return LB_CAN_SEND;
}

static enum lb_step head(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_head_out *out)
{
    (void)l7, (void)exchange, (void)out;
    return LB_STEP_MOVED;
}

/* Its request is whole from the first. */
static enum lb_step read_none(struct lb_body_lane *body, struct lb_chunk_piece *piece)
{
    (void)body, (void)piece;
    return LB_STEP_BLOCKED;
}

static enum lb_step data(struct lb_body_lane *body, const char *bytes, size_t count)
{
    (void)body, (void)bytes, (void)count;
    return LB_STEP_MOVED;
}

static int flush(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    (void)l7, (void)exchange;
    return 1;
}

static size_t local(struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_verdict said)
{
    (void)l7, (void)exchange, (void)said;
    return 0;
}

static void recall(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    struct lb_head_limits limits = {LB_MOST_HEAD, LB_MOST_HEAD, LB_FIELD_ROOM}; /* it has passed the listener's */
    const struct lb_input *in = &exchange->in;
    if (lb_message_request(&l7->message, lb_input_at(l7, in) + in->start, in->end - in->start, &limits) != LB_READ_DONE)
        __builtin_trap(); /* the same bytes were read well before */
}

static struct lb_verdict more(struct lb_l7 *l7, struct lb_exchange *exchange, int surely)
{
    (void)l7, (void)exchange, (void)surely;
    return lb_verdict(LB_NEXT_WAIT);
}

static struct lb_verdict switched(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, uint32_t count)
{
    (void)l7, (void)exchange, (void)bytes, (void)count;
    return lb_verdict_end(LB_ENDED_BACKEND); /* nobody asked for that */
}

static struct lb_verdict done(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    lb_http_finish(l7, exchange);
    give(l7, lb_twin_of(exchange->client));
    return lb_verdict(LB_NEXT_OVER);
}

static void reset(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_end why)
{
    if (exchange->hedging == LB_HEDGE_NONE && why != LB_ENDED_STOPPED)
        lb_add(&l7->ctx->row->mirrors_failed, 1);
    lb_http_break_off(l7, exchange, why);
    give(l7, lb_twin_of(exchange->client));
}

static const struct lb_stream_ops ops = {
    .ready = ready,
    .head = head,
    .read = read_none,
    .data = data,
    .flush = flush,
    .local = local,
    .recall = recall,
    .more = more,
    .switched = switched,
    .done = done,
    .reset = reset,
};

/* --- its beginning ------------------------------------------------------------------------------------------------------- */

/* Whom it asks for is told of as for the request itself. Of a client's connection it has nothing. */
static struct lb_http_client client_of(const struct lb_l7 *l7, const struct lb_http_client *from)
{
    struct lb_http_client client = *from;
    client.side = (struct lb_side){.fd = -1};
    client.own = (struct lb_conn_stack)LB_CONN_STACK_EMPTY;
    client.proxy_info = client.counted = client.accept_us = 0;
    client.queued = client.limited = 0;
    client.speaks = LB_SPEAKS_TWIN;
    if (lb_http_client_spoke_tls(l7, from))
        client.speaks |= LB_SPEAKS_TWIN_TLS;
    return client;
}

static void copy_request(struct lb_l7 *l7, struct lb_exchange *to, const struct lb_exchange *from)
{
    const struct lb_input *in = &from->in;
    uint32_t count = in->next - in->start;
    to->in = (struct lb_input){lb_heads_take_small(&l7->heads, count), 0, count, count, 0};
    memcpy(lb_input_at(l7, &to->in), lb_input_at(l7, in) + in->start, count);
    to->request = from->request;
    to->method = from->method;
    to->minor = 0; /* it has no use for interim responses */
    to->grpc = from->grpc;
    to->grpc_status = from->grpc_status;
    if (from->caller != LB_SLAB_NONE) { /* what is kept from the backend, or told to it, is so of the mirror */
        to->caller = lb_slab_take(&l7->callers);
        *(struct lb_caller *)lb_slab_at(&l7->callers, to->caller) =
            *(const struct lb_caller *)lb_slab_at(&l7->callers, from->caller);
    }
    to->replayable = lb_method_is_idempotent((enum lb_method)from->method) != 0;
    to->persistent = to->routed = 1;
}

/* NULL: there is no place. */
static struct lb_twin *begin(struct lb_l7 *l7, const struct lb_exchange *exchange, uint32_t pool)
{
    uint32_t index = lb_slab_take(&l7->twins);
    if (index == LB_SLAB_NONE)
        return NULL;
    struct lb_twin *twin = lb_slab_at(&l7->twins, index);
    twin->client = client_of(l7, exchange->client);
    twin->asker = LB_SLAB_NONE;
    twin->said = lb_verdict(LB_NEXT_WAIT);
    twin->exchange = lb_exchange_take(l7, &twin->client);
    twin->exchange->stream[LB_CLIENT] = (struct lb_stream){.ops = &ops, .takes = LB_CHUNKS_BARE};
    twin->exchange->pool = (uint16_t)pool;
    lb_twin_ready(l7, twin);
    return twin;
}

struct lb_twin *lb_twin_take(struct lb_l7 *l7, const struct lb_exchange *exchange, uint32_t pool)
{
    struct lb_twin *twin = exchange->in.next - exchange->in.start <= LB_HEAD_BYTES ? begin(l7, exchange, pool) : NULL;
    if (!twin)
        return NULL;
    twin->exchange->cost = exchange->cost;
    copy_request(l7, twin->exchange, exchange);
    return twin;
}

struct lb_twin *lb_twin_with(struct lb_l7 *l7, const struct lb_exchange *exchange, uint32_t pool, const char *head,
                             uint32_t count)
{
    struct lb_twin *twin = begin(l7, exchange, pool);
    if (!twin)
        return NULL;
    struct lb_exchange *to = twin->exchange;
    to->in = (struct lb_input){lb_heads_take_small(&l7->heads, count), 0, count, count, 0};
    memcpy(lb_input_at(l7, &to->in), head, count);
    to->request.whole = 1;
    to->method = LB_GET;
    to->cost = 1;
    to->replayable = to->persistent = to->routed = 1;
    return twin;
}
