#include "session.h"

#include <errno.h>
#include <string.h>

#include "../core/net.h"
#include "../table/account.h"
#include "../table/budget.h"
#include "admit.h"
#include "backend_report.h"
#include "backend_tls.h"
#include "offload/offload.h"
#include "proxy_send.h"
#include "relay.h"
#include "sendq.h"
#include "session_attempt.h"
#include "session_end.h"

/* Reach a backend, or end the session. error: what the attempt before came to, 0 at first. */
static void reach(struct lb_worker_context *ctx, struct lb_session *session, int error)
{
    enum lb_end why = lb_session_attempt(ctx, session, error);
    if (why == LB_ENDED_DONE)
        lb_session_move(ctx, session, LB_SESSION_CONNECTING);
    else
        lb_session_end(ctx, session, why);
}

void lb_session_open(struct lb_worker_context *ctx, const struct lb_accepted *accepted)
{
    struct lb_side client = {.fd = accepted->fd, .readable = accepted->tls != NULL, .writable = 1, .tls = accepted->tls};
    struct lb_ends ends = accepted->ends;
    if (accepted->pool >= ctx->shm.head->max_pools) {
        if (accepted->pool == LB_POOL_DENIED)
            lb_admit_deny(ctx, accepted->listener, &ends);
        else
            lb_count_refused(ctx, LB_ENDED_NO_BACKEND);
        lb_ends_drop(ctx, &ends);
        lb_side_close(&client, 0);
        return;
    }
    struct lb_session *session = lb_slab_at(&ctx->sessions, lb_slab_take(&ctx->sessions));
    uint32_t generation = session->generation;
    int error = lb_proxy_info_keep_told(&ctx->proxy_info, &ends);
    *session = (struct lb_session){
        .side = {client, {.fd = -1}},
        .generation = generation,
        .backend = LB_NONE,
        .cost = 1,
        .key = lb_net_address_hash(&ends.client),
        .proxy_info = ends.proxy_info,
        .counted = ends.counted,
        .began_us = ctx->now_us,
        .accept_us = (uint32_t)ctx->now_us - accepted->accepted_us,
        .reached_us = LB_NEVER_US,
        .listener = (uint16_t)accepted->listener,
        .pool = (uint16_t)accepted->pool,
        .client_port = lb_net_port(&ends.client),
    };
    lb_net_as_v6(&ends.client, session->client);
    lb_add(&ctx->row->accepted, 1);
    lb_add(&ctx->row->active, 1);
    lb_budget_session(&ctx->shm, ctx->worker, session->pool, (uint32_t)(ctx->now_us / 1000000));
    lb_session_move(ctx, session, LB_SESSION_CONNECTING);
    if (error || lb_session_watch(ctx, session, LB_CLIENT, accepted->watched ? LB_ATTACH_WATCHED : LB_ATTACH_FRESH) < 0)
        lb_session_end(ctx, session, LB_ENDED_RESOURCE);
    else
        reach(ctx, session, 0);
}

static void run_again(struct lb_worker_context *ctx, struct lb_session *session, uint32_t *list)
{
    if (session->queued)
        return;
    session->queued = 1;
    session->next = *list;
    *list = lb_session_index(ctx, session);
}

int lb_session_tunnel(struct lb_worker_context *ctx, const struct lb_tunnel *child)
{
    if (ctx->buffers.slab.capacity - ctx->buffers.slab.used < 2)
        return -ENOBUFS;
    uint32_t index = lb_slab_take(&ctx->sessions);
    if (index == LB_SLAB_NONE)
        return -ENOBUFS;
    struct lb_session *session = lb_slab_at(&ctx->sessions, index);
    uint32_t generation = session->generation;
    *session = (struct lb_session){
        .side = {{.fd = child->client.fd, .readable = 1, .writable = 1, .tls = child->client.tls},
                 {.fd = child->server.fd, .readable = 1, .writable = 1, .tls = child->server.tls}},
        .generation = generation,
        .backend = child->backend,
        .cost = (uint16_t)child->cost,
        .decision = child->decision,
        .counted = child->counted,
        .began_us = ctx->now_us,
        .listener = (uint16_t)child->listener,
        .pool = (uint16_t)child->pool,
        .client_port = child->port,
        .kept = 1,
    };
    memcpy(session->client, child->ip, sizeof session->client);
    lb_session_move(ctx, session, LB_SESSION_CONNECTING);
    lb_session_begin_to_flow(ctx, session);
    session->bytes[LB_CLIENT] = child->from_client_count;
    session->bytes[LB_BACKEND] = child->from_server_count;
    session->first_us = 0;
    if (child->from_client_count)
        lb_sendq_preload(ctx, &session->flow[LB_CLIENT], child->from_client, child->from_client_count);
    if (child->from_server_count)
        lb_sendq_preload(ctx, &session->flow[LB_BACKEND], child->from_server, child->from_server_count);
    for (int side = LB_CLIENT; side <= LB_BACKEND; side++)
        if (lb_session_watch(ctx, session, (enum lb_side_name)side, LB_ATTACH_WATCHED) < 0) {
            lb_session_end(ctx, session, LB_ENDED_BACKEND);
            return 0;
        }
    run_again(ctx, session, &ctx->ready);
    return 0;
}

/* --- flowing -------------------------------------------------------------------------------------------------------- */

/* A client that is gone frees its backend now, whatever is still under way (its FIN alone is only half a goodbye). */
static void client_gone(struct lb_worker_context *ctx, struct lb_session *session)
{
    lb_session_end(ctx, session, session->state == LB_SESSION_CONNECTING ? LB_ENDED_CLIENT_EARLY : LB_ENDED_CLIENT);
}

static void half_over(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name first)
{
    session->first_over = (uint8_t)(1 + first);
    lb_session_move(ctx, session, LB_SESSION_HALF);
}

/* What the two directions' ends make of the session:
 *
 *   from client   from backend     session
 *   any           any              over, if the client failed
 *   closed        closed           over: done
 *   any           broken           over: the backend failed, and its last words are out
 *   broken        closed           over: likewise
 *   broken        open             half: the backend takes nothing any more, but may have last words
 *   one of them closed             half
 *   open          open             open
 */
static void judge(struct lb_worker_context *ctx, struct lb_session *session)
{
    enum lb_flow_end out = session->flow[LB_CLIENT].end, back = session->flow[LB_BACKEND].end;
    if (session->side[LB_CLIENT].failed)
        client_gone(ctx, session);
    else if (out == LB_FLOW_CLOSED && back == LB_FLOW_CLOSED)
        lb_session_end(ctx, session, LB_ENDED_DONE);
    else if (back == LB_FLOW_BROKEN || (out == LB_FLOW_BROKEN && back == LB_FLOW_CLOSED))
        lb_session_end(ctx, session, LB_ENDED_BACKEND);
    else if ((out >= LB_FLOW_CLOSED || back >= LB_FLOW_CLOSED) && session->state == LB_SESSION_OPEN)
        half_over(ctx, session, out >= LB_FLOW_CLOSED ? LB_CLIENT : LB_BACKEND);
}

static void flow(struct lb_worker_context *ctx, struct lb_session *session)
{
    if (session->offload && lb_offload_is_broken(ctx, session)) {
        lb_session_end(ctx, session, LB_ENDED_BACKEND);
        return;
    }
    enum lb_pump out = lb_relay_pump(ctx, session, LB_CLIENT);
    enum lb_pump back = lb_relay_pump(ctx, session, LB_BACKEND);
    if (out == LB_PUMP_STARVED || back == LB_PUMP_STARVED)
        lb_add(&ctx->row->buffer_waits, 1);
    if (out == LB_PUMP_MORE || back == LB_PUMP_MORE)
        run_again(ctx, session, &ctx->ready);
    else if (out == LB_PUMP_STARVED || back == LB_PUMP_STARVED)
        run_again(ctx, session, &ctx->starved);
    if (ctx->offload && lb_offload_take(ctx, session))
        run_again(ctx, session, &ctx->ready);
    judge(ctx, session);
}

/* A backend that wants to know whose connection it is: 0, or -errno. */
static int introduce(struct lb_worker_context *ctx, const struct lb_session *session)
{
    uint32_t version = ctx->shm.pools[session->pool].send_proxy;
    struct lb_ends as_accepted = {.client = lb_net_from_v6(session->client, session->client_port)};
    const struct lb_proxy_info *proxy_info = lb_proxy_info_at(&ctx->proxy_info, session->proxy_info);
    struct lb_proxy_header who = {&session->side[LB_CLIENT], session->side[LB_BACKEND].fd, session->listener, version,
                                  proxy_info ? &proxy_info->ends : &as_accepted};
    return version ? lb_proxy_send(ctx, &who) : 0;
}

/* What is said on a fresh connection before the client's bytes: 0, EAGAIN while TLS is being agreed on, or a positive errno. */
static int first_words(struct lb_worker_context *ctx, struct lb_session *session)
{
    struct lb_side *server = &session->side[LB_BACKEND];
    if (!server->tls && lb_report_is_self(ctx, session->backend, server->fd))
        return ECONNREFUSED;
    int untold = server->tls ? 0 : introduce(ctx, session);
    if (untold)
        return -untold;
    return lb_backend_tls(ctx, session->pool, session->backend, server, NULL);
}

static void connected_or_not(struct lb_worker_context *ctx, struct lb_session *session, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP)) {
        int error = lb_net_error(session->side[LB_BACKEND].fd);
        if (error) {
            reach(ctx, session, error);
            return;
        }
    }
    if (!session->side[LB_BACKEND].writable)
        return;
    int error = first_words(ctx, session);
    if (error) {
        if (error != EAGAIN)
            reach(ctx, session, error);
        return;
    }
    lb_report_connected(ctx, session->pool, session->backend, (uint32_t)ctx->now_us - session->connect_us);
    session->reached_us = lb_account_us(session->began_us, ctx->now_us);
    lb_session_begin_to_flow(ctx, session);
    flow(ctx, session);
}

void lb_session_event(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name side, uint32_t events)
{
    lb_side_note(&session->side[side], events);
    if (side == LB_CLIENT && events & EPOLLERR)
        client_gone(ctx, session);
    else if (session->state != LB_SESSION_CONNECTING)
        flow(ctx, session);
    else if (side == LB_BACKEND)
        connected_or_not(ctx, session, events);
}

void lb_session_resume(struct lb_worker_context *ctx, struct lb_session *session)
{
    session->queued = 0;
    if (session->state == LB_SESSION_FREE) /* ended while it was listed */
        lb_slab_give(&ctx->sessions, lb_session_index(ctx, session));
    else
        flow(ctx, session);
}

void lb_session_wake(struct lb_worker_context *ctx, struct lb_session *session)
{
    flow(ctx, session);
}

/* --- time, cuts, stop ----------------------------------------------------------------------------------------------- */

/* See to its peers, and set the timer for when to do so again. True: one is dead, and the session is over. */
static int peer_is_dead(struct lb_worker_context *ctx, struct lb_session *session)
{
    struct lb_look look = lb_session_look(ctx, session);
    enum lb_peers_verdict verdict = lb_peers_look(&session->peers, &look);
    for (int side = LB_CLIENT; side <= LB_BACKEND; side++)
        if (look.took[side])
            session->moved_ms = lb_later_ms(session->moved_ms, look.acked_ms[side]);
    switch (verdict) {
    case LB_PEERS_LIVE:
        break;
    case LB_CLIENT_IS_DEAD:
        lb_session_end(ctx, session, LB_ENDED_CLIENT);
        return 1;
    case LB_BACKEND_IS_DEAD:
        lb_session_end(ctx, session, LB_ENDED_BACKEND);
        return 1;
    }
    uint64_t limit_ms = lb_session_limit_ms(ctx, session), next_ms = lb_peers_next_ms(&look, limit_ms);
    uint32_t still_ms = look.now_ms - session->moved_ms;
    uint64_t left_ms = limit_ms > still_ms ? limit_ms - still_ms : 0;
    lb_timer_set(&ctx->wheel, &session->timer, lb_now_ms(ctx) + (left_ms < next_ms ? left_ms : next_ms));
    return 0;
}

void lb_session_timeout(struct lb_worker_context *ctx, struct lb_session *session)
{
    if (session->state == LB_SESSION_CONNECTING) {
        reach(ctx, session, ETIMEDOUT);
        return;
    }
    if (!session->kept)
        lb_session_keep_alive(ctx, session);
    if (session->offload)
        lb_offload_count(ctx, session);
    if (peer_is_dead(ctx, session))
        return;
    uint32_t still_ms = (uint32_t)lb_now_ms(ctx) - session->moved_ms;
    if (still_ms >= lb_session_limit_ms(ctx, session))
        lb_session_end(ctx, session, session->state == LB_SESSION_HALF ? LB_ENDED_HALF : LB_ENDED_IDLE);
}

void lb_session_cut(struct lb_worker_context *ctx)
{
    for (uint32_t i = 0; i < ctx->sessions.touched; i++) {
        struct lb_session *session = lb_slab_at(&ctx->sessions, i);
        if (session->state == LB_SESSION_FREE || session->backend == LB_NONE || !lb_shm_is_cut(&ctx->shm, session->backend))
            continue;
        if (session->state == LB_SESSION_CONNECTING)
            reach(ctx, session, ECONNABORTED);
        else
            lb_session_end(ctx, session, LB_ENDED_CUT);
    }
}

void lb_session_stop_all(struct lb_worker_context *ctx)
{
    for (uint32_t i = 0; i < ctx->sessions.touched; i++) {
        struct lb_session *session = lb_slab_at(&ctx->sessions, i);
        if (session->state != LB_SESSION_FREE)
            lb_session_end(ctx, session, session->state == LB_SESSION_CONNECTING ? LB_ENDED_UNREACHABLE : LB_ENDED_STOPPED);
    }
}
