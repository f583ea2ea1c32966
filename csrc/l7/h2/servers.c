#include "servers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../core/net.h"
#include "../../l4/backend_report.h"
#include "../../tls/connection.h"
#include "../belongs.h"

enum {
    UNKNOWN_STREAMS = 100, /* that are opened before the backend has said how many it takes */
    MOST_STREAMS = 250,    /* on one connection, whatever the backend takes: its window is shared by all */
    MARGIN_MS = 2000,      /* as conn_pool.c */
    SHORTEST_MS = 50,
    LOOK_MS = 60000, /* of a connection with calls: there is nothing to be late for */
};

int lb_h2_servers_open(struct lb_l7 *l7, uint32_t capacity, uint32_t calls)
{
    struct lb_h2_servers *servers = &l7->servers;
    uint32_t backends = l7->ctx->shm.head->max_backends;
    servers->touched = servers->later = servers->ready = servers->last = LB_SLAB_NONE;
    lb_wheel_open(&servers->wheel, lb_now_ms(l7->ctx));
    int error = lb_slab_open(&servers->slab, sizeof(struct lb_h2_server), capacity);
    if (!error)
        error = lb_slab_open(&servers->calls, sizeof(struct lb_h2_call), calls);
    if (error)
        return error;
    servers->of_backend = malloc(backends * sizeof *servers->of_backend);
    if (!servers->of_backend)
        return -ENOMEM;
    for (uint32_t i = 0; i < backends; i++)
        servers->of_backend[i] = LB_SLAB_NONE;
    return 0;
}

void lb_h2_servers_close(struct lb_l7 *l7)
{
    struct lb_h2_servers *servers = &l7->servers;
    free(servers->of_backend);
    servers->of_backend = NULL;
    lb_slab_close(&servers->calls);
    lb_slab_close(&servers->slab);
}

static struct lb_h2_server *server_at(const struct lb_l7 *l7, uint32_t index)
{
    return lb_slab_at(&l7->servers.slab, index);
}

/* --- to be looked at ------------------------------------------------------------------------------------------------------ */

void lb_h2_server_touch(struct lb_l7 *l7, struct lb_h2_server *server)
{
    if (server->queued)
        return;
    server->queued = 1;
    server->next = l7->servers.touched;
    l7->servers.touched = lb_h2_server_index(l7, server);
}

void lb_h2_call_ready(struct lb_l7 *l7, struct lb_h2_call *call)
{
    struct lb_h2_servers *servers = &l7->servers;
    if (call->queued)
        return;
    uint32_t index = lb_slab_index(&servers->calls, call);
    call->queued = 1;
    call->next = LB_SLAB_NONE;
    if (servers->ready == LB_SLAB_NONE)
        servers->ready = index;
    else
        ((struct lb_h2_call *)lb_slab_at(&servers->calls, servers->last))->next = index;
    servers->last = index;
}

void lb_h2_calls_ready(struct lb_l7 *l7, const struct lb_h2_server *server)
{
    for (struct lb_h2_call *call = server->oldest; call; call = call->newer)
        lb_h2_call_ready(l7, call);
}

/* --- calls ------------------------------------------------------------------------------------------------------------------ */

static struct lb_h2_call **chain_of(struct lb_h2_server *server, uint32_t id)
{
    return &server->chains[id / 2 % LB_H2_CALL_CHAINS];
}

struct lb_h2_call *lb_h2_call_find(const struct lb_h2_server *server, uint32_t id)
{
    struct lb_h2_call *call = server->chains[id / 2 % LB_H2_CALL_CHAINS];
    while (call && call->id != id)
        call = call->chained;
    return call;
}

void lb_h2_call_number(struct lb_h2_call *call, uint32_t id)
{
    struct lb_h2_call **chain = chain_of(call->server, id);
    call->id = id;
    call->chained = *chain;
    *chain = call;
}

static void unchain(const struct lb_h2_call *call)
{
    struct lb_h2_call **at = chain_of(call->server, call->id);
    while (*at != call)
        at = &(*at)->chained;
    *at = call->chained;
}

static void link_call(struct lb_h2_server *server, struct lb_h2_call *call)
{
    call->older = server->newest;
    if (server->newest)
        server->newest->newer = call;
    else
        server->oldest = call;
    server->newest = call;
    server->calls++;
}

static void unlink_call(struct lb_h2_server *server, const struct lb_h2_call *call)
{
    if (call->older)
        call->older->newer = call->newer;
    else
        server->oldest = call->newer;
    if (call->newer)
        call->newer->older = call->older;
    else
        server->newest = call->older;
    server->calls--;
}

/* The exchange is carried by a call on this connection from now on: 0, or a positive errno. */
static int call_on(struct lb_l7 *l7, struct lb_h2_server *server, struct lb_exchange *exchange)
{
    uint32_t index = lb_slab_take(&l7->servers.calls);
    if (index == LB_SLAB_NONE)
        return ENOBUFS;
    struct lb_h2_call *call = lb_slab_at(&l7->servers.calls, index);
    *call = (struct lb_h2_call){
        .exchange = exchange, .server = server, .head = LB_SLAB_NONE, .trailers = LB_SLAB_NONE, .last = LB_SLAB_NONE};
    call->chunked.rules = LB_CHUNKS_BARE | (lb_http_pool(l7, exchange)->trailers ? LB_CHUNKS_TRAILERS : 0);
    lb_h2_credit_open(&call->credit, LB_H2_STREAM_WINDOW);
    link_call(server, call);
    exchange->stream[LB_BACKEND] = (struct lb_stream){.ops = l7->servers.ops, .chunks = 1, .http2 = 1, .own = call};
    exchange->deaf = exchange->quiet = 0;
    exchange->reused = server->carried > 0;
    exchange->conn_keeps = 1;
    exchange->sent_us = (uint32_t)l7->ctx->now_us;
    lb_add(&l7->ctx->row->calls, 1);
    lb_add(&l7->ctx->row->calls_active, 1);
    return 0;
}

static void give_place(struct lb_l7 *l7, struct lb_h2_server *server)
{
    server->state = LB_H2_SERVER_FREE;
    server->generation++;
    if (!server->queued) /* else the list gives it back */
        lb_slab_give(&l7->servers.slab, lb_h2_server_index(l7, server));
}

static void give_heads(struct lb_l7 *l7, const struct lb_h2_call *call)
{
    if (call->head != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, call->head);
    if (call->trailers != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, call->trailers);
    if (call->last != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, call->last);
}

void lb_h2_call_give(struct lb_l7 *l7, struct lb_h2_call *call)
{
    struct lb_h2_server *server = call->server;
    lb_sendq_drop(l7->ctx, &call->in);
    give_heads(l7, call);
    server->doubts -= call->doubted;
    if (call->id)
        unchain(call);
    unlink_call(server, call);
    call->exchange = NULL;
    lb_add(&l7->ctx->row->calls_active, UINT64_MAX); /* one less */
    if (!call->queued)                               /* else the list gives it back */
        lb_slab_give(&l7->servers.calls, lb_slab_index(&l7->servers.calls, call));
    server->since_ms = (uint32_t)lb_now_ms(l7->ctx);
    if (server->calls)
        return;
    if (server->state == LB_H2_SERVER_LOST)
        give_place(l7, server);
    else
        lb_h2_server_touch(l7, server); /* is it to be kept? */
}

/* --- which one -------------------------------------------------------------------------------------------------------------- */

/* Was its TLS, or that it has none, agreed on under the rules that hold now? */
static int is_as_agreed(const struct lb_l7 *l7, const struct lb_h2_server *server, uint32_t pool)
{
    const struct lb_worker_context *ctx = l7->ctx;
    if (!server->side.tls || !ctx->shm.pools[pool].tls)
        return server->state == LB_H2_SERVER_CONNECTING || (!ctx->shm.pools[pool].tls && !server->side.tls);
    return server->side.tls->context == lb_tls_pool(&ctx->tls, pool);
}

int lb_h2_server_is_current(const struct lb_l7 *l7, const struct lb_h2_server *server)
{
    const struct lb_shm *shm = &l7->ctx->shm;
    const struct lb_backend_row *row = &shm->backends[server->backend];
    return row->generation == server->row_generation && row->state != LB_FREE && !lb_shm_is_cut(shm, server->backend) &&
           is_as_agreed(l7, server, row->pool);
}

/* What the backend announced on another connection; 0 says that one is to end (hypercorn 0.18.0). */
static uint32_t known_streams(const struct lb_l7 *l7, uint32_t backend)
{
    for (uint32_t at = l7->servers.of_backend[backend]; at != LB_SLAB_NONE; at = server_at(l7, at)->further)
        if (server_at(l7, at)->link.settled && server_at(l7, at)->link.peer.streams)
            return server_at(l7, at)->link.peer.streams;
    return UNKNOWN_STREAMS;
}

static uint32_t most_calls(const struct lb_l7 *l7, const struct lb_h2_server *server)
{
    uint32_t announced = server->link.settled ? server->link.peer.streams : known_streams(l7, server->backend);
    return announced < MOST_STREAMS ? announced : MOST_STREAMS;
}

static int takes_another(const struct lb_l7 *l7, const struct lb_h2_server *server)
{
    return !server->going && server->calls < most_calls(l7, server) && server->link.last_out < LB_H2_STREAM_MOST - 2 &&
           lb_h2_server_is_current(l7, server);
}

/* The eldest that has room: so those that a load does not need become idle. */
static struct lb_h2_server *find(const struct lb_l7 *l7, uint32_t backend, enum lb_h2_server_state state)
{
    for (uint32_t at = l7->servers.of_backend[backend]; at != LB_SLAB_NONE; at = server_at(l7, at)->further)
        if (server_at(l7, at)->state == state && takes_another(l7, server_at(l7, at)))
            return server_at(l7, at);
    return NULL;
}

int lb_h2_servers_join(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_h2_server *server = find(l7, exchange->backend, LB_H2_SERVER_OPEN);
    if (!server || (lb_h2_asks_for_tunnel(exchange) && !server->link.settled) || call_on(l7, server, exchange))
        return 0;
    lb_h2_call_of(exchange)->told = 1;
    lb_add(&l7->ctx->row->connections_reused, 1);
    return 1;
}

/* --- life ------------------------------------------------------------------------------------------------------------------- */

static void link_server(struct lb_l7 *l7, struct lb_h2_server *server)
{
    uint32_t *first = &l7->servers.of_backend[server->backend], index = lb_h2_server_index(l7, server);
    uint32_t at = *first;
    server->further = server->before = LB_SLAB_NONE;
    if (at == LB_SLAB_NONE) {
        *first = index;
        return;
    }
    while (server_at(l7, at)->further != LB_SLAB_NONE)
        at = server_at(l7, at)->further;
    server_at(l7, at)->further = index;
    server->before = at;
}

static void unlink_server(struct lb_l7 *l7, const struct lb_h2_server *server)
{
    if (server->before != LB_SLAB_NONE)
        server_at(l7, server->before)->further = server->further;
    else
        l7->servers.of_backend[server->backend] = server->further;
    if (server->further != LB_SLAB_NONE)
        server_at(l7, server->further)->before = server->before;
}

static void begin(struct lb_l7 *l7, struct lb_h2_server *server, const struct lb_exchange *exchange, const struct lb_side *side)
{
    uint32_t generation = server->generation;
    uint8_t queued = server->queued;
    uint32_t next = server->next;
    memset(server, 0, sizeof *server);
    server->side = *side;
    server->generation = generation;
    server->queued = queued;
    server->next = next;
    server->backend = exchange->backend;
    server->pool = exchange->pool;
    server->row_generation = l7->ctx->shm.backends[exchange->backend].generation;
    server->since_ms = (uint32_t)lb_now_ms(l7->ctx);
    server->state = LB_H2_SERVER_CONNECTING;
    lb_h2_link_open(&server->link, &l7->hpack, lb_now_ms(l7->ctx), 0);
    link_server(l7, server);
}

/* A connection under way takes others along that come meanwhile. */
int lb_h2_servers_connect(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_worker_context *ctx = l7->ctx;
    struct lb_h2_server *server = find(l7, exchange->backend, LB_H2_SERVER_CONNECTING);
    if (server)
        return call_on(l7, server, exchange);
    uint32_t index = lb_slab_take(&l7->servers.slab);
    if (index == LB_SLAB_NONE)
        return ENOBUFS;
    server = server_at(l7, index);
    struct lb_destination to;
    lb_backend_destination(&ctx->shm.backends[exchange->backend], &to);
    int fd = lb_net_connect(&to, ctx->shm.pools[exchange->pool].tcp_keepalive_s, ctx->loopback_control);
    int error = fd < 0
                  ? fd
                  : lb_loop_attach(&ctx->loop, fd, lb_tag_of(LB_TAG_H2_SERVER, index, server->generation), LB_ATTACH_CONNECTING);
    if (error) {
        if (fd >= 0)
            close(fd);
        lb_slab_give(&l7->servers.slab, index);
        return -error;
    }
    begin(l7, server, exchange, &(struct lb_side){.fd = fd});
    lb_add(&ctx->row->connects, 1);
    lb_h2_server_rearm(l7, server);
    error = call_on(l7, server, exchange);
    if (error)
        lb_h2_server_close(l7, server);
    return error;
}

int lb_h2_servers_adopt(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_side *side)
{
    struct lb_worker_context *ctx = l7->ctx;
    uint32_t index = lb_slab_take(&l7->servers.slab);
    if (index == LB_SLAB_NONE) {
        lb_side_close(side, 0);
        return ENOBUFS;
    }
    struct lb_h2_server *server = server_at(l7, index);
    int error = lb_loop_attach(&ctx->loop, side->fd, lb_tag_of(LB_TAG_H2_SERVER, index, server->generation), LB_ATTACH_WATCHED);
    if (error) {
        lb_side_close(side, 0);
        lb_slab_give(&l7->servers.slab, index);
        return -error;
    }
    begin(l7, server, exchange, side);
    error = call_on(l7, server, exchange);
    if (error) {
        lb_h2_server_close(l7, server);
        return error;
    }
    lb_h2_call_of(exchange)->told = 1;
    lb_h2_server_introduce(l7, server);
    return 0;
}

/* A client's preface and SETTINGS (RFC 9113 3.4); nothing may be pushed. */
void lb_h2_server_introduce(struct lb_l7 *l7, struct lb_h2_server *server)
{
    uint32_t most = l7->ctx->shm.pools[server->pool].max_response_header_bytes;
    const struct lb_h2_setting_pair pairs[] = {
        {LB_H2_ENABLE_PUSH, 0},
        {LB_H2_INITIAL_WINDOW_SIZE, LB_H2_STREAM_WINDOW},
        {LB_H2_MAX_HEADER_LIST_SIZE, most ? most : LB_MOST_HEAD},
    };
    char *at = lb_sendq_room(l7->ctx, &server->link.out, LB_H2_PREFACE_BYTES);
    server->state = LB_H2_SERVER_OPEN;
    server->since_ms = (uint32_t)lb_now_ms(l7->ctx);
    if (!at) {
        server->link.failed = 1;
        return;
    }
    memcpy(at, LB_H2_PREFACE, LB_H2_PREFACE_BYTES);
    server->link.out.pending += LB_H2_PREFACE_BYTES;
    lb_h2_link_settings(l7->ctx, &server->link, pairs, sizeof pairs / sizeof *pairs);
    lb_h2_server_touch(l7, server);
}

void lb_h2_server_close(struct lb_l7 *l7, struct lb_h2_server *server)
{
    struct lb_side side = server->side;
    lb_h2_link_close(l7, &server->link);
    unlink_server(l7, server);
    lb_timer_cancel(&server->timer);
    server->side = (struct lb_side){.fd = -1};
    server->state = LB_H2_SERVER_LOST;
    server->going = 1;
    lb_h2_calls_ready(l7, server);
    lb_side_close(&side, 0);
    if (!server->calls)
        give_place(l7, server);
}

/* --- time ------------------------------------------------------------------------------------------------------------------- */

static uint32_t idle_limit_ms(struct lb_l7 *l7, const struct lb_h2_server *server)
{
    uint32_t known_ms = lb_report_of(l7->ctx, server->backend)->closes_after_ms;
    if (!known_ms)
        return l7->ctx->shm.pools[server->pool].backend_idle_timeout_ms;
    return known_ms >= 2 * MARGIN_MS ? known_ms - MARGIN_MS : known_ms / 2;
}

uint64_t lb_h2_server_left_ms(struct lb_l7 *l7, const struct lb_h2_server *server)
{
    if (server->state == LB_H2_SERVER_OPEN && server->calls)
        return LOOK_MS;
    uint32_t limit_ms = server->state == LB_H2_SERVER_CONNECTING ? l7->ctx->shm.pools[server->pool].connect_timeout_ms
                                                                 : idle_limit_ms(l7, server);
    return lb_left_ms(l7->ctx, server->since_ms, limit_ms);
}

void lb_h2_server_rearm(struct lb_l7 *l7, struct lb_h2_server *server)
{
    lb_timer_set_within(&l7->servers.wheel, &server->timer, lb_now_ms(l7->ctx) + lb_h2_server_left_ms(l7, server));
}

/* As conn_pool.c: health_of_end. */
void lb_h2_server_learn(struct lb_l7 *l7, const struct lb_h2_server *server)
{
    struct lb_backend_health *health = lb_report_of(l7->ctx, server->backend);
    uint32_t idle_ms = (uint32_t)lb_now_ms(l7->ctx) - server->since_ms;
    if (server->carried && idle_ms >= SHORTEST_MS && (!health->closes_after_ms || idle_ms < health->closes_after_ms))
        health->closes_after_ms = idle_ms;
}
