#include "http_servers.h"

#include <errno.h>
#include <string.h>

#include "../core/net.h"
#include "../l4/backend_report.h"
#include "../l4/backend_tls.h"
#include "../table/backend_health.h"
#include "../table/timing.h"
#include "../tls/handshake.h"
#include "attempt.h"
#include "belongs.h"
#include "charge.h"
#include "h2/doubt.h"
#include "h2/server_read.h"
#include "h2/server_stream.h"
#include "http.h"
#include "suspect.h"

enum {
    READS = 3,   /* of one connection in a turn, up to LB_H2_READ_MOST each */
    ROUNDS = 16, /* of all that there is to do, in a turn */
};

int lb_http_servers_open(struct lb_l7 *l7, uint32_t capacity, uint32_t calls)
{
    static const struct lb_multiplexer multiplexer = {
        .join = lb_h2_servers_join, .connect = lb_h2_servers_connect, .adopt = lb_h2_servers_adopt};
    l7->multiplexer = &multiplexer;
    l7->servers.ops = &lb_h2_server_stream;
    return lb_h2_servers_open(l7, capacity, calls);
}

/* --- connecting --------------------------------------------------------------------------------------------------------------- */

/* It came to this error. The backend is blamed once, however many wait. */
static void fail(struct lb_l7 *l7, struct lb_h2_server *server, int error)
{
    uint32_t generation = server->generation;
    if (!server->calls) {
        lb_h2_server_close(l7, server);
        return;
    }
    lb_h2_server_close(l7, server);
    while (server->generation == generation && server->oldest) {
        struct lb_h2_call *call = server->oldest;
        lb_http_obey_exchange(l7, call->exchange, lb_verdict_number(LB_NEXT_FAILED, (uint32_t)error));
        if (server->generation == generation && server->oldest == call)
            return; /* it has not left, which cannot be */
        error = ECONNABORTED;
    }
}

/* Both have agreed on HTTP/2, where TLS asks (RFC 9113 3.2). */
static int agreed(const struct lb_h2_server *server)
{
    return !server->side.tls || lb_tls_agreed_on(server->side.tls, "h2");
}

/* The eldest that may go by HTTP/1.1 as well. */
static struct lb_h2_call *first_for_http1(const struct lb_l7 *l7, const struct lb_h2_server *server)
{
    struct lb_h2_call *call = server->oldest;
    while (call && (call->exchange->grpc || lb_http_pool(l7, call->exchange)->protocol != LB_BACKEND_AUTO))
        call = call->newer;
    return call;
}

/* It does not speak HTTP/2, at least no longer: what may goes on its way by HTTP/1.1. */
static void not_agreed(struct lb_l7 *l7, struct lb_h2_server *server)
{
    uint32_t generation = server->generation;
    struct lb_h2_call *call, *before = NULL;
    lb_report_of(l7->ctx, server->backend)->speaks = LB_SPEAKS_HTTP1;
    while (server->generation == generation && (call = first_for_http1(l7, server)) != NULL && call != before) {
        struct lb_exchange *exchange = call->exchange;
        before = call;
        lb_http_decided(l7, exchange, LB_ENDED_UNREACHABLE);
        lb_http_obey_exchange(l7, exchange, lb_http_attempt_anew(l7, exchange));
    }
    if (server->generation == generation && server->state == LB_H2_SERVER_CONNECTING)
        fail(l7, server, EPROTO);
}

/* One that asks for another protocol goes on when the backend's SETTINGS have said whether it takes that. */
static struct lb_h2_call *first_untold(struct lb_h2_server *server)
{
    struct lb_h2_call *call = server->oldest;
    server->untold = 0;
    while (call && (call->told || (!server->link.settled && lb_h2_asks_for_tunnel(call->exchange)))) {
        server->untold |= !call->told;
        call = call->newer;
    }
    return call;
}

/* All that waited for it go on. */
static void tell_calls(struct lb_l7 *l7, struct lb_h2_server *server)
{
    uint32_t generation = server->generation;
    struct lb_h2_call *call;
    while (server->generation == generation && server->state == LB_H2_SERVER_OPEN && (call = first_untold(server)) != NULL) {
        call->told = 1;
        call->exchange->sent_us = (uint32_t)l7->ctx->now_us;
        lb_http_recall(l7, call->exchange);
        lb_http_obey_exchange(l7, call->exchange, lb_verdict(LB_NEXT_SEND));
    }
}

static void connected(struct lb_l7 *l7, struct lb_h2_server *server)
{
    struct lb_worker_context *ctx = l7->ctx;
    if (!server->side.tls && lb_report_is_self(ctx, server->backend, server->side.fd)) {
        fail(l7, server, ECONNREFUSED);
        return;
    }
    const char *offer = ctx->shm.pools[server->pool].protocol == LB_BACKEND_AUTO ? LB_OFFER_ANY : "h2";
    int error = lb_backend_tls(ctx, server->pool, server->backend, &server->side, offer);
    if (error == EAGAIN)
        return;
    if (error) {
        fail(l7, server, error);
        return;
    }
    if (!agreed(server)) {
        not_agreed(l7, server);
        return;
    }
    uint32_t took_us = ((uint32_t)lb_now_ms(ctx) - server->since_ms) * 1000;
    lb_timing_note(&ctx->shm, ctx->worker, server->pool, LB_TIMING_CONNECT, took_us);
    lb_health_connected(lb_report_of(ctx, server->backend), lb_now_ms(ctx));
    lb_h2_server_introduce(l7, server);
    tell_calls(l7, server);
}

/* --- reading ------------------------------------------------------------------------------------------------------------------ */

/* A GOAWAY with the fault, as far as it can be sent at once, and the end. */
static void fault(struct lb_l7 *l7, struct lb_h2_server *server, enum lb_h2_error error)
{
    lb_h2_link_goaway(l7->ctx, &server->link, 0, error);
    (void)!lb_h2_link_flush(l7->ctx, &server->link, &server->side);
    lb_add(&l7->ctx->row->responses_bad, 1);
    lb_h2_server_close(l7, server);
}

/* Its FIN, or a failure. */
static void hung_up(struct lb_l7 *l7, struct lb_h2_server *server)
{
    if (!server->calls && !server->warned)
        lb_h2_server_learn(l7, server);
    lb_h2_server_close(l7, server);
}

static void read_some(struct lb_l7 *l7, struct lb_h2_server *server)
{
    struct lb_side *side = &server->side;
    for (int i = 0; i < READS && side->readable && lb_h2_link_reads(&server->link); i++) {
        uint32_t most = lb_h2_link_reads(&server->link);
        ssize_t got = lb_side_recv(side, l7->ctx->scratch, most);
        if (got > 0) {
            lb_side_got(side, (size_t)got, most);
            enum lb_h2_error error = lb_h2_server_read(l7, server, (const uint8_t *)l7->ctx->scratch, (uint32_t)got);
            if (error == LB_H2_NO_ERROR)
                continue;
            fault(l7, server, error);
            return;
        }
        if (got < 0 && errno == EBUSY)
            return;
        side->readable = 0;
        if (got == 0 || errno != EAGAIN)
            hung_up(l7, server);
        return;
    }
}

/* --- sending ------------------------------------------------------------------------------------------------------------------ */

/* There is room again. */
static void go_on(struct lb_l7 *l7, struct lb_h2_server *server)
{
    server->full = 0;
    for (struct lb_h2_call *call = server->oldest; call; call = call->newer) {
        if (call->owes_end && lb_h2_call_end(l7, call) == 0) {
            call->owes_end = 0;
            call->said_end = 1;
        }
        server->full |= call->owes_end;
        lb_h2_call_ready(l7, call);
    }
}

static void send_held(struct lb_l7 *l7, struct lb_h2_server *server)
{
    int flushed = server->link.failed ? -1 : lb_h2_link_flush(l7->ctx, &server->link, &server->side);
    if (flushed < 0) {
        hung_up(l7, server);
        return;
    }
    if (server->full && lb_h2_link_takes(&server->link))
        go_on(l7, server);
}

/* Nothing is under way on it: is it kept? A GOAWAY of ours is said only then, since several servers drop what runs (hypercorn 0.18.0,
 * grpclib 0.4.9). */
static int is_to_go(struct lb_l7 *l7, const struct lb_h2_server *server)
{
    return !server->calls && (server->going || !lb_h2_server_is_current(l7, server) || !lb_h2_server_left_ms(l7, server));
}

static void part(struct lb_l7 *l7, struct lb_h2_server *server)
{
    lb_h2_link_goaway(l7->ctx, &server->link, 0, LB_H2_NO_ERROR);
    (void)!lb_h2_link_flush(l7->ctx, &server->link, &server->side);
    lb_h2_server_close(l7, server);
}

static void look(struct lb_l7 *l7, struct lb_h2_server *server, int sends)
{
    uint32_t generation = server->generation;
    if (server->state == LB_H2_SERVER_CONNECTING && !server->calls) {
        lb_h2_server_close(l7, server);
        return;
    }
    if (server->state != LB_H2_SERVER_OPEN)
        return;
    if (!sends && server->side.readable)
        read_some(l7, server);
    if (server->untold && server->link.settled && server->state == LB_H2_SERVER_OPEN)
        tell_calls(l7, server);
    if (server->generation == generation && server->state == LB_H2_SERVER_OPEN && sends)
        send_held(l7, server);
    if (server->generation != generation || server->state != LB_H2_SERVER_OPEN)
        return;
    if (is_to_go(l7, server))
        part(l7, server);
    else
        lb_h2_server_rearm(l7, server);
}

/* Of what came, more is left than this turn may take: it is listed for the next. */
static void look_later(struct lb_l7 *l7, struct lb_h2_server *server)
{
    if (server->queued)
        return;
    server->queued = 1;
    server->next = l7->servers.later;
    l7->servers.later = lb_h2_server_index(l7, server);
}

/* First what came is read, then what is to go is sent. */
static void look_at_touched(struct lb_l7 *l7, int sends)
{
    uint32_t index = l7->servers.touched;
    l7->servers.touched = LB_SLAB_NONE;
    while (index != LB_SLAB_NONE) {
        struct lb_h2_server *server = lb_slab_at(&l7->servers.slab, index);
        index = server->next;
        server->queued = 0;
        if (server->state == LB_H2_SERVER_FREE) { /* closed while it was listed */
            lb_slab_give(&l7->servers.slab, lb_h2_server_index(l7, server));
            continue;
        }
        uint32_t generation = server->generation;
        look(l7, server, sends);
        if (server->generation != generation || server->state != LB_H2_SERVER_OPEN)
            continue;
        if (!sends)
            lb_h2_server_touch(l7, server);
        else if (server->side.readable && lb_h2_link_reads(&server->link))
            look_later(l7, server);
    }
}

/* --- exchanges ---------------------------------------------------------------------------------------------------------------- */

static void run_calls(struct lb_l7 *l7)
{
    uint32_t index = l7->servers.ready;
    l7->servers.ready = LB_SLAB_NONE;
    while (index != LB_SLAB_NONE) {
        struct lb_h2_call *call = lb_slab_at(&l7->servers.calls, index);
        index = call->next;
        call->queued = 0;
        if (!call->exchange) /* ended while it was listed */
            lb_slab_give(&l7->servers.calls, lb_slab_index(&l7->servers.calls, call));
        else
            lb_http_run_exchange(l7, call->exchange);
    }
}

static void fire(void *context, struct lb_timer *timer)
{
    struct lb_l7 *l7 = context;
    struct lb_h2_server *server = (struct lb_h2_server *)(void *)timer;
    lb_h2_doubts_ready(l7, server);
    if (lb_h2_server_left_ms(l7, server))
        lb_h2_server_rearm(l7, server);
    else if (server->state == LB_H2_SERVER_CONNECTING)
        fail(l7, server, ETIMEDOUT);
    else
        lb_h2_server_touch(l7, server);
}

void lb_http_servers_turn(struct lb_l7 *l7)
{
    lb_wheel_turn(&l7->servers.wheel, lb_now_ms(l7->ctx), fire, l7);
    while (l7->servers.later != LB_SLAB_NONE) {
        struct lb_h2_server *server = lb_slab_at(&l7->servers.slab, l7->servers.later);
        l7->servers.later = server->next;
        server->queued = 0;
        if (server->state == LB_H2_SERVER_FREE)
            lb_slab_give(&l7->servers.slab, lb_h2_server_index(l7, server));
        else
            lb_h2_server_touch(l7, server);
    }
    look_at_touched(l7, 0);
    run_calls(l7);
}

/* What room there is anew lets calls go on, and what they say then is sent, too. */
void lb_http_servers_send(struct lb_l7 *l7)
{
    for (int i = 0; i < ROUNDS && (l7->servers.touched != LB_SLAB_NONE || l7->servers.ready != LB_SLAB_NONE); i++) {
        look_at_touched(l7, 1);
        run_calls(l7);
    }
}

int lb_http_servers_wait(const struct lb_l7 *l7)
{
    const struct lb_h2_servers *servers = &l7->servers;
    int busy = servers->later != LB_SLAB_NONE || servers->touched != LB_SLAB_NONE || servers->ready != LB_SLAB_NONE;
    return busy ? 0 : lb_wheel_wait(&servers->wheel, lb_now_ms(l7->ctx));
}

/* --- events, ends ------------------------------------------------------------------------------------------------------------- */

void lb_http_server_event(struct lb_l7 *l7, uint32_t index, uint32_t generation, uint32_t events)
{
    struct lb_h2_server *server = lb_slab_at(&l7->servers.slab, index);
    if (server->generation != generation || server->state == LB_H2_SERVER_FREE || server->state == LB_H2_SERVER_LOST)
        return;
    lb_side_note(&server->side, events);
    if (server->state == LB_H2_SERVER_OPEN) {
        lb_h2_server_touch(l7, server);
        return;
    }
    int error = events & (EPOLLERR | EPOLLHUP) ? lb_net_error(server->side.fd) : 0;
    if (error)
        fail(l7, server, error);
    else if (server->side.writable) /* which it stays, while TLS is being agreed on */
        connected(l7, server);
}

void lb_http_servers_cut(struct lb_l7 *l7, int all)
{
    for (uint32_t i = 0; i < l7->servers.slab.touched; i++) {
        struct lb_h2_server *server = lb_slab_at(&l7->servers.slab, i);
        if (server->state == LB_H2_SERVER_FREE || server->state == LB_H2_SERVER_LOST)
            continue;
        if (all || (!server->calls && !lb_h2_server_is_current(l7, server)))
            part(l7, server);
    }
}
