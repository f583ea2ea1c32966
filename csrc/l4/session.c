#include "session.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "../core/net.h"
#include "../table/budget.h"
#include "plane.h"
#include "relay.h"

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
        return &row->refused_client_left;
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

static uint64_t time_limit_ms(const struct lb_plane *plane, const struct lb_session *session)
{
    switch ((enum lb_session_state)session->state) {
    case LB_SESSION_FREE:
        return 0;
    case LB_SESSION_CONNECTING:
        return plane->shm.pools[session->pool].connect_timeout_ms;
    case LB_SESSION_OPEN:
        return plane->shm.listeners[session->listener].idle_timeout_ms;
    case LB_SESSION_HALF:
        return plane->shm.listeners[session->listener].half_closed_timeout_ms;
    }
    return 0;
}

/* The one place where a session's state changes; its timer follows. */
static void move(struct lb_plane *plane, struct lb_session *session, enum lb_session_state to)
{
    if (!allowed[session->state][to])
        __builtin_trap();
    session->state = (uint8_t)to;
    if (to == LB_SESSION_FREE)
        lb_timer_cancel(&session->timer);
    else
        lb_timer_set(&plane->wheel, &session->timer, lb_now_ms(plane) + time_limit_ms(plane, session));
}

static uint32_t index_of(const struct lb_plane *plane, const struct lb_session *session)
{
    return (uint32_t)((size_t)((const char *)session - plane->sessions.memory) / sizeof *session);
}

/* --- the end -------------------------------------------------------------------------------------------------------- */

static void leave_backend(struct lb_plane *plane, struct lb_session *session)
{
    if (session->backend == LB_NONE)
        return;
    uint32_t *active = &plane->active[session->backend];
    __atomic_store_n(active, *active - 1, __ATOMIC_RELAXED);
    session->backend = LB_NONE;
}

static void close_side(struct lb_side *side, int reset)
{
    if (side->fd < 0)
        return;
    if (reset)
        lb_net_reset(side->fd);
    else
        close(side->fd);
    side->fd = -1;
}

/* A peer must not take a cut answer for a whole one; an idle one may read a plain end. */
static int ends_in_reset(const struct lb_session *session, enum ending why)
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
    case CLOSED_IDLE:
    case CLOSED_HALF:
    case CLOSED_CUT:
    case CLOSED_STOPPED:
        return session->flow[LB_CLIENT].pending || session->flow[LB_BACKEND].pending;
    }
    return 1;
}

static void end(struct lb_plane *plane, struct lb_session *session, enum ending why)
{
    struct lb_worker_row *row = plane->row;
    int reset = ends_in_reset(session, why);

    lb_relay_drop(plane, &session->flow[LB_CLIENT]);
    lb_relay_drop(plane, &session->flow[LB_BACKEND]);
    leave_backend(plane, session);
    move(plane, session, LB_SESSION_FREE);
    session->generation++;
    lb_add(ending_counter(row, why), 1);
    lb_add(why <= REFUSED_RESOURCE ? &row->refused : &row->closed, 1);
    lb_add(&row->active, UINT64_MAX); /* one less */
    /* last: whoever sees the end finds it counted */
    close_side(&session->side[LB_CLIENT], reset);
    close_side(&session->side[LB_BACKEND], reset);
    if (!session->queued) /* else the list gives it back */
        lb_slab_give(&plane->sessions, index_of(plane, session));
}

/* --- reaching a backend --------------------------------------------------------------------------------------------- */

static int watch(struct lb_plane *plane, struct lb_session *session, enum lb_side_name side)
{
    struct epoll_event event = {
        .events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
        .data.u64 = lb_tag_of((enum lb_tag)side, index_of(plane, session), session->generation),
    };
    return epoll_ctl(plane->epoll, EPOLL_CTL_ADD, session->side[side].fd, &event) < 0 ? -errno : 0;
}

static union lb_address address_of(const struct lb_backend_row *row)
{
    union lb_address to;
    memset(&to, 0, sizeof to);
    if (row->family == AF_INET6) {
        to.v6 = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_port = htons(row->port), .sin6_scope_id = row->scope};
        memcpy(&to.v6.sin6_addr, row->ip, sizeof to.v6.sin6_addr);
    } else {
        to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(row->port)};
        memcpy(&to.v4.sin_addr, row->ip, sizeof to.v4.sin_addr);
    }
    return to;
}

/* This worker's notes on a backend; those on an earlier tenant of the row are thrown away. */
static struct lb_outcome *outcome_of(struct lb_plane *plane, uint32_t backend)
{
    struct lb_outcome *outcome = lb_shm_outcome(&plane->shm, plane->worker, backend);
    uint64_t generation = plane->shm.backends[backend].generation;
    if (outcome->generation != generation) {
        *outcome = (struct lb_outcome){
            .ack_credit = LB_ACK_CREDIT, .ack_trial_in = LB_ACK_FIRST_TRIAL, .ack_trial_gap = LB_ACK_FIRST_TRIAL};
        __atomic_store_n(&outcome->generation, generation, __ATOMIC_RELEASE);
    }
    return outcome;
}

static void note_success(struct lb_plane *plane, struct lb_session *session)
{
    struct lb_outcome *outcome = outcome_of(plane, session->backend);
    uint32_t took_us = (uint32_t)plane->now_us - session->connect_us;
    outcome->latency_us = outcome->sessions ? (outcome->latency_us * 7 + took_us) / 8 : took_us;
    outcome->failures_in_row = 0;
    outcome->last_success_ms = lb_now_ms(plane);
    lb_add(&outcome->sessions, 1);
}

static void note_failure(struct lb_plane *plane, struct lb_session *session, int error)
{
    struct lb_outcome *outcome = outcome_of(plane, session->backend);
    lb_add(&outcome->failures, 1);
    outcome->last_errno = error;
    outcome->failures_in_row++;
    lb_add(&plane->row->connect_failures, 1);
    if (error == ETIMEDOUT)
        lb_add(&plane->row->connect_timeouts, 1);
    uint32_t bound = plane->shm.pools[session->pool].fail_after;
    if (bound && outcome->failures_in_row % bound == 0 && plane->alerts < LB_ALERTS)
        plane->alert[plane->alerts++] = session->backend;
}

/* Nothing that a backend did: this host ran out of something. */
static int is_local(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM || error == ENOSPC ||
           error == EADDRNOTAVAIL;
}

/* Pick and begin to connect: 0, or a positive errno with session->backend charged, or -1 if none is left to pick. */
static int try_backend(struct lb_plane *plane, struct lb_session *session)
{
    uint32_t backend = lb_view_pick(&plane->shm, session->pool, session->tried, session->tried_count,
                                    &plane->cursors[session->pool]);
    if (backend == LB_NONE)
        return -1;
    const struct lb_pool_row *pool = &plane->shm.pools[session->pool];
    union lb_address to = address_of(&plane->shm.backends[backend]);
    session->tried[session->tried_count++] = backend;
    session->backend = backend;
    session->connect_us = (uint32_t)plane->now_us;
    __atomic_store_n(&plane->active[backend], plane->active[backend] + 1, __ATOMIC_RELAXED);
    lb_add(&plane->row->connects, 1);

    int fd = lb_net_connect(&to, pool->keepalive_s, pool->user_timeout_ms);
    if (fd < 0)
        return -fd;
    session->side[LB_BACKEND] = (struct lb_side){.fd = fd};
    return -watch(plane, session, LB_BACKEND);
}

static int may_retry(struct lb_plane *plane, struct lb_session *session)
{
    const struct lb_pool_row *pool = &plane->shm.pools[session->pool];
    if (session->tried_count > pool->retries || session->tried_count == LB_MAX_TRIED)
        return 0;
    if (!lb_budget_retry(&plane->shm, plane->worker, session->pool, (uint32_t)(plane->now_us / 1000000))) {
        lb_add(&plane->row->retries_denied, 1);
        return 0;
    }
    lb_add(&plane->row->retries, 1);
    return 1;
}

/* Reach a backend, or end the session. error: what the attempt before came to, 0 at first. */
static void reach(struct lb_plane *plane, struct lb_session *session, int error)
{
    do {
        if (error) {
            if (is_local(error)) {
                end(plane, session, REFUSED_RESOURCE);
                return;
            }
            note_failure(plane, session, error);
            close_side(&session->side[LB_BACKEND], 0);
            leave_backend(plane, session);
            if (!may_retry(plane, session)) {
                end(plane, session, REFUSED_CONNECT);
                return;
            }
        }
        error = try_backend(plane, session);
    } while (error > 0);
    if (error < 0)
        end(plane, session, session->tried_count ? REFUSED_CONNECT : REFUSED_NO_BACKEND);
    else
        move(plane, session, LB_SESSION_CONNECTING);
}

void lb_session_open(struct lb_plane *plane, int client, uint32_t listener)
{
    struct lb_session *session = lb_slab_at(&plane->sessions, lb_slab_take(&plane->sessions));
    uint32_t generation = session->generation;
    *session = (struct lb_session){
        .side = {{.fd = client, .writable = 1}, {.fd = -1}},
        .generation = generation,
        .backend = LB_NONE,
        .listener = (uint16_t)listener,
        .pool = (uint16_t)plane->shm.listeners[listener].pool,
    };
    lb_add(&plane->row->accepted, 1);
    lb_add(&plane->row->active, 1);
    lb_budget_session(&plane->shm, plane->worker, session->pool, (uint32_t)(plane->now_us / 1000000));
    move(plane, session, LB_SESSION_CONNECTING);
    if (watch(plane, session, LB_CLIENT) < 0)
        end(plane, session, REFUSED_RESOURCE);
    else
        reach(plane, session, 0);
}

/* --- flowing -------------------------------------------------------------------------------------------------------- */

static void run_again(struct lb_plane *plane, struct lb_session *session, uint32_t *list)
{
    if (session->queued)
        return;
    session->queued = 1;
    session->next = *list;
    *list = index_of(plane, session);
}

/* A client that is gone frees its backend now, whatever is still under way (its FIN alone is only half a goodbye). */
static void client_gone(struct lb_plane *plane, struct lb_session *session)
{
    end(plane, session, session->state == LB_SESSION_CONNECTING ? REFUSED_CLIENT_LEFT : CLOSED_CLIENT_RESET);
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
static void judge(struct lb_plane *plane, struct lb_session *session)
{
    enum lb_flow_end out = session->flow[LB_CLIENT].end, back = session->flow[LB_BACKEND].end;
    if (session->side[LB_CLIENT].failed)
        client_gone(plane, session);
    else if (out == LB_FLOW_CLOSED && back == LB_FLOW_CLOSED)
        end(plane, session, CLOSED_DONE);
    else if (back == LB_FLOW_BROKEN || (out == LB_FLOW_BROKEN && back == LB_FLOW_CLOSED))
        end(plane, session, CLOSED_BACKEND_RESET);
    else if ((out >= LB_FLOW_CLOSED || back >= LB_FLOW_CLOSED) && session->state == LB_SESSION_OPEN)
        move(plane, session, LB_SESSION_HALF);
}

static void flow(struct lb_plane *plane, struct lb_session *session)
{
    enum lb_pump out = lb_relay_pump(plane, session, LB_CLIENT);
    enum lb_pump back = lb_relay_pump(plane, session, LB_BACKEND);
    if (out == LB_PUMP_STARVED || back == LB_PUMP_STARVED)
        lb_add(&plane->row->buffer_waits, 1);
    if (out == LB_PUMP_MORE || back == LB_PUMP_MORE)
        run_again(plane, session, &plane->ready);
    else if (out == LB_PUMP_STARVED || back == LB_PUMP_STARVED)
        run_again(plane, session, &plane->starved);
    judge(plane, session);
}

static void note_readiness(struct lb_side *side, uint32_t events)
{
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        side->readable = 1;
    if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        side->hung_up = 1;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR))
        side->writable = 1;
}

static void connected_or_not(struct lb_plane *plane, struct lb_session *session, uint32_t events)
{
    if (events & (EPOLLERR | EPOLLHUP)) {
        int error = lb_net_error(session->side[LB_BACKEND].fd);
        if (error) {
            reach(plane, session, error);
            return;
        }
    }
    if (!session->side[LB_BACKEND].writable)
        return;
    /* only a backend that is not known to be there can be mistaken for ourselves: the others are spared the question */
    if (!outcome_of(plane, session->backend)->last_success_ms || outcome_of(plane, session->backend)->failures_in_row)
        if (lb_net_is_self(session->side[LB_BACKEND].fd)) {
            reach(plane, session, ECONNREFUSED);
            return;
        }
    note_success(plane, session);
    session->moved_ms = (uint32_t)lb_now_ms(plane);
    move(plane, session, LB_SESSION_OPEN);
    flow(plane, session);
}

void lb_session_event(struct lb_plane *plane, struct lb_session *session, enum lb_side_name side, uint32_t events)
{
    note_readiness(&session->side[side], events);
    if (side == LB_CLIENT && events & EPOLLERR)
        client_gone(plane, session);
    else if (session->state != LB_SESSION_CONNECTING)
        flow(plane, session);
    else if (side == LB_BACKEND)
        connected_or_not(plane, session, events);
}

void lb_session_resume(struct lb_plane *plane, struct lb_session *session)
{
    session->queued = 0;
    if (session->state == LB_SESSION_FREE) /* ended while it was listed */
        lb_slab_give(&plane->sessions, index_of(plane, session));
    else
        flow(plane, session);
}

/* --- time, cuts, stop ----------------------------------------------------------------------------------------------- */

void lb_session_timeout(struct lb_plane *plane, struct lb_session *session)
{
    if (session->state == LB_SESSION_CONNECTING) {
        reach(plane, session, ETIMEDOUT);
        return;
    }
    uint32_t still_ms = (uint32_t)lb_now_ms(plane) - session->moved_ms;
    uint64_t limit_ms = time_limit_ms(plane, session);
    if (still_ms < limit_ms)
        lb_timer_set(&plane->wheel, &session->timer, lb_now_ms(plane) + limit_ms - still_ms);
    else
        end(plane, session, session->state == LB_SESSION_HALF ? CLOSED_HALF : CLOSED_IDLE);
}

void lb_session_cut(struct lb_plane *plane)
{
    for (uint32_t i = 0; i < plane->sessions.touched; i++) {
        struct lb_session *session = lb_slab_at(&plane->sessions, i);
        if (session->state == LB_SESSION_FREE || session->backend == LB_NONE ||
            plane->shm.backends[session->backend].state != LB_GONE)
            continue;
        if (session->state == LB_SESSION_CONNECTING)
            reach(plane, session, ECONNABORTED);
        else
            end(plane, session, CLOSED_CUT);
    }
}

void lb_session_stop_all(struct lb_plane *plane)
{
    for (uint32_t i = 0; i < plane->sessions.touched; i++) {
        struct lb_session *session = lb_slab_at(&plane->sessions, i);
        if (session->state != LB_SESSION_FREE)
            end(plane, session, session->state == LB_SESSION_CONNECTING ? REFUSED_CONNECT : CLOSED_STOPPED);
    }
}
