#include "session.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../core/net.h"
#include "../core/shortage.h"
#include "../table/account.h"
#include "../table/budget.h"
#include "../table/clients.h"
#include "../table/load.h"
#include "../table/timing.h"
#include "../table/why.h"
#include "admit.h"
#include "pick.h"
#include "proxy_send.h"
#include "offload/offload.h"
#include "backend_report.h"
#include "worker_context.h"
#include "relay.h"
#include "backend_tls.h"

enum { LASTING_MS = 1000 };

/* Why a session ended; each has its counter. */
enum ending {
    REFUSED_NO_BACKEND,
    REFUSED_CONNECT,
    REFUSED_CLIENT_LEFT,
    REFUSED_RESOURCE,
    CLOSED_DONE,
    CLOSED_CLIENT_RESET,
    CLOSED_BACKEND_RESET,
    CLOSED_IDLE,
    CLOSED_HALF,
    CLOSED_CUT,
    CLOSED_STOPPED,
};

static uint64_t *ending_counter(struct lb_worker_row *row, enum ending ending)
{
    switch (ending) {
    case REFUSED_NO_BACKEND:
        return &row->refused_no_backend;
    case REFUSED_CONNECT:
        return &row->refused_connect;
    case REFUSED_CLIENT_LEFT:
        return &row->refused_client_aborts;
    case REFUSED_RESOURCE:
        return &row->refused_resource;
    case CLOSED_DONE:
        return &row->closed_done;
    case CLOSED_CLIENT_RESET:
        return &row->closed_client_reset;
    case CLOSED_BACKEND_RESET:
        return &row->closed_backend_reset;
    case CLOSED_IDLE:
        return &row->closed_idle;
    case CLOSED_HALF:
        return &row->closed_half;
    case CLOSED_CUT:
        return &row->closed_cut;
    case CLOSED_STOPPED:
        return &row->closed_stopped;
    }
    return &row->closed_done;
}

/* --- state ---------------------------------------------------------------------------------------------------------- */

/* from \ to     FREE  CONNECTING  OPEN  HALF */
static const uint8_t allowed[4][4] = {
    [LB_SESSION_FREE] = {0, 1, 0, 0},
    [LB_SESSION_CONNECTING] = {1, 1, 1, 0}, /* to itself: another backend is tried */
    [LB_SESSION_OPEN] = {1, 0, 0, 1},
    [LB_SESSION_HALF] = {1, 0, 0, 0},
};

static uint64_t time_limit_ms(const struct lb_worker_context *ctx, const struct lb_session *session)
{
    switch ((enum lb_session_state)session->state) {
    case LB_SESSION_FREE:
        return 0;
    case LB_SESSION_CONNECTING:
        return ctx->shm.pools[session->pool].connect_timeout_ms;
    case LB_SESSION_OPEN:
        return ctx->shm.listeners[session->listener].idle_timeout_ms;
    case LB_SESSION_HALF:
        return ctx->shm.listeners[session->listener].half_closed_timeout_ms;
    }
    return 0;
}

/* Keep-alive towards the backend is four calls, and only of use for sessions that last: they have it from their first second on.
 * What is half over has it at once, or is over before it would have helped. */
static void keep_alive(struct lb_worker_context *ctx, struct lb_session *session)
{
    uint32_t idle_s = ctx->shm.pools[session->pool].tcp_keepalive_s;
    if (idle_s && (session->state == LB_SESSION_OPEN || time_limit_ms(ctx, session) > (uint64_t)idle_s * 1000))
        (void)lb_net_keep_alive(session->side[LB_BACKEND].fd, idle_s);
    session->kept = 1;
}

static struct lb_look look_of(const struct lb_worker_context *ctx, struct lb_session *session)
{
    return (struct lb_look){
        .side = {&session->side[LB_CLIENT], &session->side[LB_BACKEND]},
        .now_ms = (uint32_t)lb_now_ms(ctx),
        .moved_ms = session->moved_ms,
        .timeout_ms = ctx->shm.pools[session->pool].user_timeout_ms,
    };
}

static uint64_t look_in_ms(const struct lb_worker_context *ctx, struct lb_session *session)
{
    uint64_t limit_ms = time_limit_ms(ctx, session);
    if (session->state != LB_SESSION_OPEN && session->state != LB_SESSION_HALF)
        return limit_ms;
    struct lb_look look = look_of(ctx, session);
    uint64_t look_ms = lb_peers_next_ms(&look, limit_ms);
    return session->state == LB_SESSION_OPEN && !session->kept && look_ms > LASTING_MS ? LASTING_MS : look_ms;
}

/* The one place where a session's state changes; its timer follows. */
static void move(struct lb_worker_context *ctx, struct lb_session *session, enum lb_session_state to)
{
    if (!allowed[session->state][to])
        __builtin_trap();
    session->state = (uint8_t)to;
    if (to == LB_SESSION_FREE)
        lb_timer_cancel(&session->timer);
    else
        lb_timer_set(&ctx->wheel, &session->timer, lb_now_ms(ctx) + look_in_ms(ctx, session));
    if (to == LB_SESSION_HALF && !session->kept)
        keep_alive(ctx, session);
}

_Static_assert(sizeof(struct lb_session) == 192, "csrc/l4/session.h says so");

static uint32_t index_of(const struct lb_worker_context *ctx, const struct lb_session *session)
{
    return (uint32_t)((size_t)((const char *)session - ctx->sessions.memory) / sizeof *session);
}

/* Its backend is reached, or was from the start: what connecting needed makes room. */
static void begin_to_flow(struct lb_worker_context *ctx, struct lb_session *session)
{
    lb_proxy_info_drop(&ctx->proxy_info, session->proxy_info);
    memset(session->flow, 0, sizeof session->flow);
    session->bytes[LB_CLIENT] = session->bytes[LB_BACKEND] = 0;
    session->moved_ms = (uint32_t)lb_now_ms(ctx);
    session->first_us = LB_NEVER_US;
    move(ctx, session, LB_SESSION_OPEN);
}

/* --- the end -------------------------------------------------------------------------------------------------------- */

static enum lb_fate fate_of(enum ending ending)
{
    switch (ending) {
    case CLOSED_DONE:
        return LB_FATE_DONE;
    case REFUSED_CONNECT:
    case REFUSED_RESOURCE:
        return LB_FATE_UNREACHABLE;
    case CLOSED_BACKEND_RESET:
        return LB_FATE_FAILED;
    case REFUSED_CLIENT_LEFT:
    case CLOSED_CLIENT_RESET:
        return LB_FATE_LEFT;
    case REFUSED_NO_BACKEND:
    case CLOSED_IDLE:
    case CLOSED_HALF:
    case CLOSED_CUT:
    case CLOSED_STOPPED:
        return LB_FATE_ENDED;
    }
    return LB_FATE_ENDED;
}

static enum lb_end end_of(enum ending ending)
{
    switch (ending) {
    case REFUSED_NO_BACKEND:
        return LB_ENDED_NO_BACKEND;
    case REFUSED_CONNECT:
        return LB_ENDED_UNREACHABLE;
    case REFUSED_RESOURCE:
        return LB_ENDED_RESOURCE;
    case REFUSED_CLIENT_LEFT:
    case CLOSED_CLIENT_RESET:
        return LB_ENDED_CLIENT;
    case CLOSED_DONE:
        return LB_ENDED_DONE;
    case CLOSED_BACKEND_RESET:
        return LB_ENDED_BACKEND;
    case CLOSED_IDLE:
        return LB_ENDED_IDLE;
    case CLOSED_HALF:
        return LB_ENDED_HALF;
    case CLOSED_CUT:
        return LB_ENDED_CUT;
    case CLOSED_STOPPED:
        return LB_ENDED_STOPPED;
    }
    return LB_ENDED_DONE;
}

static void account(struct lb_worker_context *ctx, const struct lb_session *session, enum ending why)
{
    static const uint8_t by[] = {0, LB_RECORD_BY_CLIENT, LB_RECORD_BY_BACKEND};
    int flows = session->state != LB_SESSION_CONNECTING;
    struct lb_ended ended = {
        .now_us = ctx->now_us,
        .began_us = session->began_us,
        .bytes_in = flows ? session->bytes[LB_CLIENT] : 0,
        .bytes_out = flows ? session->bytes[LB_BACKEND] : 0,
        .listener = session->listener,
        .pool = session->pool,
        .backend =
            session->backend != LB_NONE || !session->tried_count ? session->backend : session->tried[session->tried_count - 1],
        .accept_us = session->accept_us,
        .connect_us = session->reached_us,
        .first_us = flows ? session->first_us : LB_NEVER_US,
        .client = session->client,
        .client_port = session->client_port,
        .kind = LB_RECORD_SESSION,
        .end = end_of(why),
        .flags = (uint8_t)(by[session->first_over] | (session->side[LB_CLIENT].tls ? LB_RECORD_TLS : 0)),
        .tried = session->tried_count,
    };
    if (why > REFUSED_RESOURCE)
        lb_timing_note(&ctx->shm, ctx->worker, session->pool, LB_TIMING_SESSION, ctx->now_us - session->began_us);
    lb_account(&ctx->shm, ctx->worker, &ended);
}

static void leave_backend(struct lb_worker_context *ctx, struct lb_session *session, enum lb_fate fate)
{
    if (session->backend == LB_NONE)
        return;
    lb_load_give(&ctx->shm, ctx->worker, session->pool, session->backend, session->cost);
    lb_why_end(&ctx->shm, ctx->worker, session->decision, fate, 0, ctx->now_us);
    session->backend = LB_NONE;
}

/* A peer must not take a cut response for a whole one; an idle one may read a plain end. */
static int ends_in_reset(struct lb_worker_context *ctx, struct lb_session *session, enum ending why)
{
    switch (why) {
    case CLOSED_DONE:
        return 0;
    case REFUSED_NO_BACKEND:
    case REFUSED_CONNECT:
    case REFUSED_CLIENT_LEFT:
    case REFUSED_RESOURCE:
    case CLOSED_CLIENT_RESET:
    case CLOSED_BACKEND_RESET:
        return 1;
    case CLOSED_CUT:
        if (ctx->shm.backends[session->backend].state == LB_DOWN)
            return 1; /* an end would tell the client that all is said */
        __attribute__((fallthrough));
    case CLOSED_IDLE:
    case CLOSED_HALF:
    case CLOSED_STOPPED:
        return session->flow[LB_CLIENT].pending || session->flow[LB_BACKEND].pending ||
               (session->offload && lb_offload_is_unsettled(ctx, session));
    }
    return 1;
}

static void end(struct lb_worker_context *ctx, struct lb_session *session, enum ending why)
{
    struct lb_worker_row *row = ctx->row;
    int reset = ends_in_reset(ctx, session, why);

    if (session->offload)
        lb_offload_leave(ctx, session);
    account(ctx, session, why);
    if (session->state == LB_SESSION_CONNECTING) {
        lb_proxy_info_drop(&ctx->proxy_info, session->proxy_info);
    } else {
        lb_relay_drop(ctx, &session->flow[LB_CLIENT]);
        lb_relay_drop(ctx, &session->flow[LB_BACKEND]);
    }
    leave_backend(ctx, session, fate_of(why));
    lb_client_leave(&ctx->shm, ctx->worker, session->counted);
    move(ctx, session, LB_SESSION_FREE);
    session->generation++;
    lb_add(ending_counter(row, why), 1);
    lb_add(why <= REFUSED_RESOURCE ? &row->refused : &row->closed, 1);
    lb_add(&row->active, UINT64_MAX); /* one less */
    /* last: whoever sees the end finds it counted */
    lb_side_close(&session->side[LB_CLIENT], reset);
    lb_side_close(&session->side[LB_BACKEND], reset);
    if (!session->queued) /* else the list gives it back */
        lb_slab_give(&ctx->sessions, index_of(ctx, session));
}

/* --- reaching a backend --------------------------------------------------------------------------------------------- */

static int watch(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name side, int operation)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = lb_tag_of((enum lb_tag)side, index_of(ctx, session), session->generation),
    };
    return epoll_ctl(ctx->epoll, operation, session->side[side].fd, &event) < 0 ? -errno : 0;
}

/* Pick and begin to connect: 0, or a positive errno with session->backend charged, or -1 if none is left to pick. */
static int try_backend(struct lb_worker_context *ctx, struct lb_session *session)
{
    struct lb_picked claim = {session->pool, session->cost, session->key, session->tried, session->tried_count, .datagrams = 0};
    uint32_t backend = lb_pick_backend(ctx, &claim, &session->decision);
    if (backend == LB_NONE)
        return -1;
    union lb_address to = lb_backend_address(&ctx->shm.backends[backend]);
    session->tried[session->tried_count++] = backend;
    session->backend = backend;
    session->connect_us = (uint32_t)ctx->now_us;
    lb_add(&ctx->row->connects, 1);

    int fd = lb_net_connect(&to, 0, ctx->loopback_control);
    if (fd < 0)
        return -fd;
    session->side[LB_BACKEND] = (struct lb_side){.fd = fd};
    return -watch(ctx, session, LB_BACKEND, EPOLL_CTL_ADD);
}

/* The attempt came to this error, and the backend is left. May another one be tried? */
static int give_up_backend(struct lb_worker_context *ctx, struct lb_session *session, int error)
{
    int shortage = lb_is_shortage(error);
    if (shortage)
        lb_report_shortage(ctx, session->backend, error);
    else if (error != ECONNABORTED) /* our own cut */
        lb_report_unreachable(ctx, session->pool, session->backend, error);
    lb_side_close(&session->side[LB_BACKEND], 0);
    leave_backend(ctx, session, shortage ? LB_FATE_SHORTAGE : LB_FATE_UNREACHABLE);
    return lb_may_retry(ctx, session->pool, error, session->tried_count, &session->shortages);
}

static enum ending why_unreached(const struct lb_session *session)
{
    if (!session->tried_count)
        return REFUSED_NO_BACKEND;
    return session->shortages == session->tried_count ? REFUSED_RESOURCE : REFUSED_CONNECT;
}

/* Reach a backend, or end the session. error: what the attempt before came to, 0 at first. */
static void reach(struct lb_worker_context *ctx, struct lb_session *session, int error)
{
    do {
        if (error && !give_up_backend(ctx, session, error)) {
            end(ctx, session, why_unreached(session));
            return;
        }
        error = try_backend(ctx, session);
    } while (error > 0);
    if (error < 0)
        end(ctx, session, why_unreached(session));
    else
        move(ctx, session, LB_SESSION_CONNECTING);
}

void lb_session_open(struct lb_worker_context *ctx, const struct lb_accepted *accepted)
{
    struct lb_side client = {.fd = accepted->fd, .readable = accepted->tls != NULL, .writable = 1, .tls = accepted->tls};
    struct lb_ends ends = accepted->ends;
    if (accepted->pool >= ctx->shm.head->max_pools) {
        lb_count_refused(ctx, &ctx->row->refused_no_backend);
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
    move(ctx, session, LB_SESSION_CONNECTING);
    if (error || watch(ctx, session, LB_CLIENT, accepted->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD) < 0)
        end(ctx, session, REFUSED_RESOURCE);
    else
        reach(ctx, session, 0);
}

static void run_again(struct lb_worker_context *ctx, struct lb_session *session, uint32_t *list)
{
    if (session->queued)
        return;
    session->queued = 1;
    session->next = *list;
    *list = index_of(ctx, session);
}

/* Bytes that were read before the session began. */
static void preload(struct lb_worker_context *ctx, struct lb_flow *flow, const char *bytes, uint32_t count)
{
    if (!count)
        return;
    *flow = (struct lb_flow){.held = lb_buffer_take(&ctx->buffers), .pending = count, .holds = LB_HOLDS_BUFFER};
    memcpy(lb_buffer_at(&ctx->buffers, flow->held), bytes, count);
    ctx->row->buffers++;
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
    move(ctx, session, LB_SESSION_CONNECTING);
    begin_to_flow(ctx, session);
    session->bytes[LB_CLIENT] = child->from_client_count;
    session->bytes[LB_BACKEND] = child->from_server_count;
    session->first_us = 0;
    preload(ctx, &session->flow[LB_CLIENT], child->from_client, child->from_client_count);
    preload(ctx, &session->flow[LB_BACKEND], child->from_server, child->from_server_count);
    for (int side = LB_CLIENT; side <= LB_BACKEND; side++)
        if (watch(ctx, session, (enum lb_side_name)side, EPOLL_CTL_MOD) < 0) {
            end(ctx, session, CLOSED_BACKEND_RESET);
            return 0;
        }
    run_again(ctx, session, &ctx->ready);
    return 0;
}

/* --- flowing -------------------------------------------------------------------------------------------------------- */

/* A client that is gone frees its backend now, whatever is still under way (its FIN alone is only half a goodbye). */
static void client_gone(struct lb_worker_context *ctx, struct lb_session *session)
{
    end(ctx, session, session->state == LB_SESSION_CONNECTING ? REFUSED_CLIENT_LEFT : CLOSED_CLIENT_RESET);
}

static void half_over(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name first)
{
    session->first_over = (uint8_t)(1 + first);
    move(ctx, session, LB_SESSION_HALF);
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
        end(ctx, session, CLOSED_DONE);
    else if (back == LB_FLOW_BROKEN || (out == LB_FLOW_BROKEN && back == LB_FLOW_CLOSED))
        end(ctx, session, CLOSED_BACKEND_RESET);
    else if ((out >= LB_FLOW_CLOSED || back >= LB_FLOW_CLOSED) && session->state == LB_SESSION_OPEN)
        half_over(ctx, session, out >= LB_FLOW_CLOSED ? LB_CLIENT : LB_BACKEND);
}

static void flow(struct lb_worker_context *ctx, struct lb_session *session)
{
    if (session->offload && lb_offload_is_broken(ctx, session)) {
        end(ctx, session, CLOSED_BACKEND_RESET);
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
    return lb_backend_tls(ctx, session->pool, session->backend, server);
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
    begin_to_flow(ctx, session);
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
        lb_slab_give(&ctx->sessions, index_of(ctx, session));
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
    struct lb_look look = look_of(ctx, session);
    enum lb_peers_verdict verdict = lb_peers_look(&session->peers, &look);
    for (int side = LB_CLIENT; side <= LB_BACKEND; side++)
        if (look.took[side])
            session->moved_ms = lb_later_ms(session->moved_ms, look.acked_ms[side]);
    switch (verdict) {
    case LB_PEERS_LIVE:
        break;
    case LB_CLIENT_IS_DEAD:
        end(ctx, session, CLOSED_CLIENT_RESET);
        return 1;
    case LB_BACKEND_IS_DEAD:
        end(ctx, session, CLOSED_BACKEND_RESET);
        return 1;
    }
    uint64_t limit_ms = time_limit_ms(ctx, session), next_ms = lb_peers_next_ms(&look, limit_ms);
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
        keep_alive(ctx, session);
    if (session->offload)
        lb_offload_count(ctx, session);
    if (peer_is_dead(ctx, session))
        return;
    uint32_t still_ms = (uint32_t)lb_now_ms(ctx) - session->moved_ms;
    if (still_ms >= time_limit_ms(ctx, session))
        end(ctx, session, session->state == LB_SESSION_HALF ? CLOSED_HALF : CLOSED_IDLE);
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
            end(ctx, session, CLOSED_CUT);
    }
}

void lb_session_stop_all(struct lb_worker_context *ctx)
{
    for (uint32_t i = 0; i < ctx->sessions.touched; i++) {
        struct lb_session *session = lb_slab_at(&ctx->sessions, i);
        if (session->state != LB_SESSION_FREE)
            end(ctx, session, session->state == LB_SESSION_CONNECTING ? REFUSED_CONNECT : CLOSED_STOPPED);
    }
}
