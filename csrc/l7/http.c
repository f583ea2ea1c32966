#include "http.h"

#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../core/io.h"
#include "../table/clients.h"
#include "parts.h"

enum { STEPS = 32 }; /* of one client in a turn */

/* --- state ---------------------------------------------------------------------------------------------------------- */

/* from \ to        FREE READING QUEUED CONNECTING EXCHANGE RESPONDING LINGERING */
static const uint8_t allowed[7][7] = {
    [LB_HTTP_FREE] = {0, 1, 0, 0, 0, 0, 0},       [LB_HTTP_READING] = {1, 0, 1, 1, 1, 1, 1},
    [LB_HTTP_QUEUED] = {1, 1, 0, 0, 0, 1, 0}, /* to reading: it is looked at again */
    [LB_HTTP_CONNECTING] = {1, 0, 1, 1, 1, 1, 0}, /* to queued: the others are full */
    [LB_HTTP_EXCHANGE] = {1, 1, 0, 0, 0, 1, 1},   [LB_HTTP_RESPONDING] = {1, 1, 0, 0, 0, 0, 1},
    [LB_HTTP_LINGERING] = {1, 0, 0, 0, 0, 0, 0},
};

/* The one place where a client's state changes; its timer follows. */
void lb_http_move(struct lb_l7 *l7, struct lb_http *client, enum lb_http_state to)
{
    if (!allowed[client->state][to])
        __builtin_trap();
    if (to == LB_HTTP_LINGERING)
        l7->lingering++;
    if (client->state == LB_HTTP_LINGERING)
        l7->lingering--;
    client->state = (uint8_t)to;
    if (to == LB_HTTP_FREE)
        lb_timer_cancel(&client->timer);
    else
        lb_http_rearm(l7, client);
}

/* --- life of a client ----------------------------------------------------------------------------------------------- */

static uint64_t *ending_counter(struct lb_worker_row *row, enum lb_http_end why)
{
    switch (why) {
    case LB_END_DONE:
        return &row->closed_done;
    case LB_END_CLIENT_LEFT:
        return &row->closed_client_reset;
    case LB_END_BACKEND:
        return &row->closed_backend_reset;
    case LB_END_IDLE:
        return &row->closed_idle;
    case LB_END_SLOW:
        return &row->closed_slow;
    case LB_END_CUT:
        return &row->closed_cut;
    case LB_END_STOPPED:
        return &row->closed_stopped;
    case LB_END_RESOURCE:
        return &row->closed_cut;
    case LB_END_TUNNEL:
        return NULL;
    }
    return NULL;
}

static uint64_t *exchange_counter(struct lb_worker_row *row, enum lb_http_end why)
{
    switch (why) {
    case LB_END_CLIENT_LEFT:
        return &row->requests_client_aborts;
    case LB_END_DONE:
    case LB_END_TUNNEL:
        return &row->requests_done;
    case LB_END_BACKEND:
    case LB_END_IDLE:
    case LB_END_SLOW:
    case LB_END_RESOURCE:
        return &row->requests_failed;
    case LB_END_CUT:
    case LB_END_STOPPED:
        return &row->requests_stopped;
    }
    return &row->requests_failed;
}

static enum lb_end end_of(enum lb_http_end why)
{
    switch (why) {
    case LB_END_DONE:
    case LB_END_TUNNEL:
        return LB_ENDED_DONE;
    case LB_END_CLIENT_LEFT:
        return LB_ENDED_CLIENT;
    case LB_END_BACKEND:
        return LB_ENDED_BACKEND;
    case LB_END_IDLE:
        return LB_ENDED_IDLE;
    case LB_END_SLOW:
        return LB_ENDED_SLOW;
    case LB_END_CUT:
        return LB_ENDED_CUT;
    case LB_END_STOPPED:
        return LB_ENDED_STOPPED;
    case LB_END_RESOURCE:
        return LB_ENDED_RESOURCE;
    }
    return LB_ENDED_DONE;
}

static void give_buffers(struct lb_l7 *l7, struct lb_http *client)
{
    lb_http_drop_flow(l7, &client->up);
    lb_http_drop_flow(l7, &client->down);
    if (client->in != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, client->in);
    if (client->part != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, client->part);
    client->in = client->part = LB_SLAB_NONE;
}

static void count_end(struct lb_worker_row *row, struct lb_http *client, enum lb_http_end why)
{
    if (client->open) {
        lb_add(&row->requests_active, UINT64_MAX);
        lb_add(exchange_counter(row, why), 1);
        client->open = 0;
    }
    if (why == LB_END_TUNNEL)
        return;
    lb_add(ending_counter(row, why), 1);
    lb_add(&row->closed, 1);
    lb_add(&row->active, UINT64_MAX);
}

enum lb_next lb_http_end(struct lb_l7 *l7, struct lb_http *client, enum lb_http_end why)
{
    struct lb_side side = client->client;
    /* a cut response must not be taken for a whole one */
    int reset = why != LB_END_DONE && (client->stage == LB_RESPONSE_BODY || client->down.pending) && client->open;
    if (client->open && why != LB_END_TUNNEL) /* else it was told before */
        lb_http_log(l7, client, end_of(why), client->status, NULL);
    lb_http_leave_queue(l7, client);
    lb_http_leave_backend(l7, client, LB_CONN_CUT);
    lb_conn_drop_own(&l7->conns, &client->own);
    lb_proxy_info_drop(&l7->ctx->proxy_info, client->proxy_info);
    lb_client_leave(&l7->ctx->shm, l7->ctx->worker, client->counted);
    client->counted = 0;
    give_buffers(l7, client);
    lb_http_move(l7, client, LB_HTTP_FREE);
    client->generation++;
    count_end(l7->ctx->row, client, why);
    /* last: whoever sees the end finds it counted */
    if (why != LB_END_TUNNEL)
        lb_side_close(&side, reset);
    if (!client->queued) /* else the list gives it back */
        lb_slab_give(&l7->clients, lb_http_index(l7, client));
    return LB_NEXT_OVER;
}

/* Who it is, and whether its word is taken. */
static void know_peer(struct lb_l7 *l7, struct lb_http *client, const union lb_address *peer)
{
    lb_net_as_v6(peer, client->ip);
    client->port = lb_net_port(peer);
    client->key = lb_net_address_hash(peer);
    client->trusted = (uint8_t)lb_listener_trusts(lb_http_listener(l7, client), peer);
}

void lb_http_open(struct lb_l7 *l7, const struct lb_accepted *accepted)
{
    uint32_t index = lb_slab_take(&l7->clients);
    struct lb_http *client = lb_slab_at(&l7->clients, index);
    uint32_t generation = client->generation;
    struct lb_ends ends = accepted->ends;
    int error = lb_proxy_info_keep_told(&l7->ctx->proxy_info, &ends);
    *client = (struct lb_http){
        .client = {.fd = accepted->fd, .readable = accepted->tls != NULL, .writable = 1, .tls = accepted->tls},
        .generation = generation,
        .conn = LB_SLAB_NONE,
        .own = {LB_SLAB_NONE, 0},
        .backend = LB_NONE,
        .waits_for = LB_NONE,
        .since_ms = (uint32_t)lb_now_ms(l7->ctx),
        .in = LB_SLAB_NONE,
        .part = LB_SLAB_NONE,
        .accept_us = (uint32_t)l7->ctx->now_us - accepted->accepted_us,
        .log = LB_SLAB_NONE,
        .listener = (uint16_t)accepted->listener,
        .proxy_info = ends.proxy_info,
        .counted = ends.counted,
    };
    know_peer(l7, client, &ends.client);
    lb_add(&l7->ctx->row->accepted, 1);
    lb_add(&l7->ctx->row->active, 1);
    lb_http_move(l7, client, LB_HTTP_READING);
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
                                .data.u64 = lb_tag_of(LB_TAG_HTTP, index, generation)};
    if (error || epoll_ctl(l7->ctx->epoll, accepted->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, accepted->fd, &event) < 0)
        lb_http_end(l7, client, LB_END_RESOURCE);
    else if (accepted->tls)
        lb_http_run(l7, client); /* its first request may have come with the handshake's last words */
}

void lb_http_linger(struct lb_l7 *l7, struct lb_http *client)
{
    lb_http_moved(l7, client);
    client->linger_ms = client->since_ms;
    lb_http_move(l7, client, LB_HTTP_LINGERING);
}

/* Throw away what a client sends that has been told all. */
static enum lb_next linger(struct lb_l7 *l7, struct lb_http *client)
{
    if (!client->client.readable)
        return LB_NEXT_WAIT;
    ssize_t got = lb_side_recv(&client->client, l7->ctx->scratch, LB_SCRATCH_BYTES);
    if (got > 0) {
        lb_http_moved(l7, client);
        return LB_NEXT_AGAIN;
    }
    if (got < 0 && errno == EBUSY)
        return LB_NEXT_LATER;
    if (got < 0 && errno == EAGAIN) {
        client->client.readable = 0;
        return LB_NEXT_WAIT;
    }
    return lb_http_end(l7, client, LB_END_DONE);
}

static enum lb_next deliver_own(struct lb_l7 *l7, struct lb_http *client)
{
    int flushed = lb_http_flush(l7, &client->client, &client->down);
    if (flushed < 0)
        return lb_http_end(l7, client, LB_END_CLIENT_LEFT);
    return flushed ? lb_http_finish(l7, client) : LB_NEXT_WAIT;
}

/* A client that has sent FIN after its request has left (unless the listener says otherwise): nobody waits for the response. */
static int has_left(const struct lb_l7 *l7, const struct lb_http *client)
{
    return client->client.hung_up && client->request.whole && !lb_http_listener(l7, client)->half_close;
}

static enum lb_next step(struct lb_l7 *l7, struct lb_http *client)
{
    switch ((enum lb_http_state)client->state) {
    case LB_HTTP_FREE:
        return LB_NEXT_OVER;
    case LB_HTTP_READING:
        return lb_http_take_request(l7, client);
    case LB_HTTP_QUEUED:
    case LB_HTTP_CONNECTING:
        return has_left(l7, client) ? lb_http_end(l7, client, LB_END_CLIENT_LEFT) : lb_http_take_more(l7, client);
    case LB_HTTP_EXCHANGE:
        return has_left(l7, client) ? lb_http_end(l7, client, LB_END_CLIENT_LEFT) : lb_http_transfer(l7, client);
    case LB_HTTP_RESPONDING:
        return deliver_own(l7, client);
    case LB_HTTP_LINGERING:
        return linger(l7, client);
    }
    return LB_NEXT_WAIT;
}

static void run_again(struct lb_l7 *l7, struct lb_http *client, uint32_t *list)
{
    if (client->queued)
        return;
    client->queued = 1;
    client->next = *list;
    *list = lb_http_index(l7, client);
}

void lb_http_run(struct lb_l7 *l7, struct lb_http *client)
{
    enum lb_next next = LB_NEXT_AGAIN;
    for (int i = 0; next == LB_NEXT_AGAIN && i < STEPS; i++)
        next = step(l7, client);
    switch (next) {
    case LB_NEXT_OVER:
        return;
    case LB_NEXT_WAIT:
        lb_http_rearm(l7, client);
        return;
    case LB_NEXT_AGAIN:
    case LB_NEXT_LATER:
        run_again(l7, client, &l7->ready);
        return;
    case LB_NEXT_STARVED:
        lb_http_excuse(client);
        lb_add(&l7->ctx->row->buffer_waits, 1);
        run_again(l7, client, &l7->starved);
        return;
    }
}

/* --- events --------------------------------------------------------------------------------------------------------- */

void lb_http_event(struct lb_l7 *l7, uint32_t index, uint32_t generation, uint32_t events)
{
    struct lb_http *client = lb_slab_at(&l7->clients, index);
    if (client->generation != generation || client->state == LB_HTTP_FREE)
        return;
    lb_side_note(&client->client, events);
    if (events & EPOLLERR)
        lb_http_end(l7, client, client->open ? LB_END_CLIENT_LEFT : LB_END_DONE);
    else if (events != EPOLLOUT || client->state != LB_HTTP_READING || client->client.readable)
        lb_http_run(l7, client);
}

static void connected_or_not(struct lb_l7 *l7, struct lb_http *client, struct lb_conn *conn, uint32_t events)
{
    enum lb_next next;
    int error = events & (EPOLLERR | EPOLLHUP) ? lb_net_error(conn->side.fd) : 0;
    if (error)
        next = lb_http_connect_failed(l7, client, error);
    else if (conn->side.writable) /* which it stays, while TLS is being agreed on */
        next = lb_http_connected(l7, client);
    else
        return;
    if (next == LB_NEXT_AGAIN)
        lb_http_run(l7, client);
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
    struct lb_http *client = lb_slab_at(&l7->clients, conn->owner);
    if (client->state == LB_HTTP_CONNECTING)
        connected_or_not(l7, client, conn, events);
    else
        lb_http_run(l7, client);
}
