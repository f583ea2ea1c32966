#include "http.h"

#include "../tls/handshake.h"
#include "attempt.h"
#include "belongs.h"
#include "deadline.h"
#include "drive.h"
#include "h1/connection.h"
#include "h1/end.h"
#include "h1/idle.h"
#include "h1/state.h"
#include "http2.h"
#include "http_twins.h"
#include "input.h"
#include "min_rate.h"
#include "twin.h"

enum { STEPS = 32 }; /* of one client in a turn */

/* --- going on with a client ------------------------------------------------------------------------------------------- */

/* The client goes over to the other codec, with what it has sent so far. */
static struct lb_verdict speak_http2(struct lb_l7 *l7, struct lb_h1 *h1)
{
    const struct lb_http_client client = h1->client;
    struct lb_input in = h1->in;
    h1->in = (struct lb_input){.buffer = LB_SLAB_NONE};
    lb_h1_move(l7, h1, LB_H1_FREE);
    h1->client.generation++;
    if (!h1->client.queued) /* else the list gives it back */
        lb_slab_give(&l7->clients, lb_h1_index(l7, h1));
    lb_h2_open(l7, &client, in.end ? lb_input_at(l7, &in) + in.start : NULL, in.end - in.start);
    lb_input_drop(l7, &in);
    return lb_verdict(LB_NEXT_OVER);
}

static struct lb_verdict carry_out(struct lb_l7 *l7, struct lb_h1 *h1, struct lb_verdict said)
{
    if (h1->exchange)
        return lb_drive(l7, h1->exchange, said);
    return said.next == LB_NEXT_HTTP2 ? speak_http2(l7, h1) : lb_h1_carry_out(l7, h1, said);
}

/* What it comes to in the end is to go on, or the client's end. */
static enum lb_next obey(struct lb_l7 *l7, struct lb_h1 *h1, struct lb_verdict said)
{
    while (lb_verdict_decides(said))
        said = carry_out(l7, h1, said);
    return (enum lb_next)said.next;
}

static void rearm(struct lb_l7 *l7, struct lb_h1 *h1)
{
    if (h1->exchange)
        lb_http_rearm(l7, h1->exchange);
    else
        lb_h1_rearm(l7, h1);
}

static void run_again(struct lb_l7 *l7, struct lb_h1 *h1, uint32_t *list)
{
    if (h1->client.queued)
        return;
    h1->client.queued = 1;
    h1->client.next = *list;
    *list = lb_h1_index(l7, h1);
}

void lb_http_run(struct lb_l7 *l7, struct lb_h1 *h1)
{
    enum lb_next next = LB_NEXT_AGAIN;
    for (int i = 0; next == LB_NEXT_AGAIN && i < STEPS; i++)
        next = obey(l7, h1, h1->exchange ? lb_drive_step(l7, h1->exchange) : lb_h1_step(l7, h1));
    if (next == LB_NEXT_WAIT) {
        rearm(l7, h1);
    } else if (next == LB_NEXT_AGAIN || next == LB_NEXT_LATER) {
        run_again(l7, h1, &l7->ready);
    } else if (next == LB_NEXT_STARVED) {
        if (h1->exchange)
            lb_http_excuse(h1->exchange);
        lb_add(&l7->ctx->row->buffer_waits, 1);
        run_again(l7, h1, &l7->starved);
    }
}

void lb_http_obey(struct lb_l7 *l7, struct lb_h1 *h1, struct lb_verdict said)
{
    if (obey(l7, h1, said) == LB_NEXT_AGAIN)
        lb_http_run(l7, h1);
}

static int speaks_http2(const struct lb_exchange *exchange)
{
    return exchange->client->speaks == LB_SPEAKS_HTTP2;
}

void lb_http_obey_exchange(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_verdict said)
{
    if (speaks_http2(exchange))
        lb_h2_obey(l7, exchange, said);
    else if (lb_is_twin(exchange->client))
        lb_twin_obey(l7, exchange, said);
    else
        lb_http_obey(l7, lb_h1_of(exchange->client), said);
}

void lb_http_run_exchange(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (speaks_http2(exchange))
        lb_h2_run(l7, exchange);
    else if (lb_is_twin(exchange->client))
        lb_twin_run(l7, exchange);
    else
        lb_http_run(l7, lb_h1_of(exchange->client));
}

/* --- life of a client ----------------------------------------------------------------------------------------------- */

/* Who it is, and whether its word is taken. */
static void know_peer(struct lb_l7 *l7, struct lb_h1 *h1, const union lb_address *peer)
{
    lb_net_as_v6(peer, h1->client.ip);
    h1->client.port = lb_net_port(peer);
    h1->client.key = lb_net_address_hash(peer);
    h1->client.trusted = (uint8_t)lb_listener_trusts(lb_http_client_listener(l7, &h1->client), peer);
}

void lb_http_open(struct lb_l7 *l7, const struct lb_accepted *accepted)
{
    uint32_t index = lb_slab_take(&l7->clients);
    struct lb_h1 *h1 = lb_slab_at(&l7->clients, index);
    uint32_t generation = h1->client.generation;
    struct lb_ends ends = accepted->ends;
    int error = lb_proxy_info_keep_told(&l7->ctx->proxy_info, &ends);
    struct lb_http_client client = {
        .side = {.fd = accepted->fd, .readable = accepted->tls != NULL, .writable = 1, .tls = accepted->tls},
        .generation = generation,
        .own = LB_CONN_STACK_EMPTY,
        .since_ms = (uint32_t)lb_now_ms(l7->ctx),
        .accept_us = (uint32_t)l7->ctx->now_us - accepted->accepted_us,
        .listener = (uint16_t)accepted->listener,
        .proxy_info = ends.proxy_info,
        .counted = ends.counted,
    };
    *h1 = (struct lb_h1){.client = client, .in = {.buffer = LB_SLAB_NONE}};
    know_peer(l7, h1, &ends.client);
    lb_add(&l7->ctx->row->accepted, 1);
    lb_add(&l7->ctx->row->active, 1);
    lb_h1_move(l7, h1, LB_H1_OPEN);
    if (!error)
        error = lb_loop_attach(&l7->ctx->loop, accepted->fd, lb_tag_of(LB_TAG_HTTP, index, generation),
                               accepted->watched ? LB_ATTACH_WATCHED : LB_ATTACH_BRIEF);
    if (error)
        lb_h1_end(l7, h1, LB_ENDED_NO_BUFFER);
    else if (accepted->tls && lb_tls_agreed_on(accepted->tls, "h2"))
        (void)obey(l7, h1, lb_verdict(LB_NEXT_HTTP2));
    else if (accepted->tls)
        lb_http_run(l7, h1); /* its first request may have come with the handshake's last words */
}

/* --- events --------------------------------------------------------------------------------------------------------- */

void lb_http_event(struct lb_l7 *l7, uint32_t index, uint32_t generation, uint32_t events)
{
    struct lb_h1 *h1 = lb_slab_at(&l7->clients, index);
    if (h1->client.generation != generation || h1->state == LB_H1_FREE)
        return;
    lb_side_note(&h1->client.side, events);
    if (events & EPOLLERR)
        lb_h1_end(l7, h1, h1->exchange && h1->exchange->open ? LB_ENDED_CLIENT : LB_ENDED_DONE);
    else if (events != EPOLLOUT || h1->exchange || h1->state != LB_H1_OPEN || h1->client.side.readable)
        lb_http_run(l7, h1);
}

static void connected_or_not(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_conn *conn, uint32_t events)
{
    int error = events & (EPOLLERR | EPOLLHUP) ? lb_net_error(conn->side.fd) : 0;
    if (error)
        lb_http_obey_exchange(l7, exchange, lb_verdict_number(LB_NEXT_FAILED, (uint32_t)error));
    else if (conn->side.writable) /* which it stays, while TLS is being agreed on */
        lb_http_obey_exchange(l7, exchange, lb_http_connected(l7, exchange));
}

void lb_http_idle_event(struct lb_l7 *l7, uint32_t index, uint32_t generation, uint32_t events)
{
    struct lb_conn *conn = lb_conn_at(&l7->conns, index);
    if (conn->generation != generation || (conn->state != LB_CONN_IDLE && conn->state != LB_CONN_PARTING))
        return;
    lb_side_note(&conn->side, events);
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        lb_conn_idle_event(&l7->conns, conn);
}

void lb_http_conn_event(struct lb_l7 *l7, uint32_t index, uint32_t generation, uint32_t events)
{
    struct lb_conn *conn = lb_conn_at(&l7->conns, index);
    if (conn->generation != generation || conn->state == LB_CONN_FREE)
        return;
    if (conn->state != LB_CONN_BUSY) { /* its exchange has left it in this very turn */
        lb_http_idle_event(l7, index, generation, events);
        return;
    }
    lb_side_note(&conn->side, events);
    struct lb_exchange *exchange = lb_http_at(l7, conn->owner);
    if (exchange->state == LB_EXCHANGE_CONNECTING)
        connected_or_not(l7, exchange, conn, events);
    else
        lb_http_run_exchange(l7, exchange);
}
