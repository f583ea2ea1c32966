#include "udp_session.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/shortage.h"
#include "../core/siphash.h"
#include "../table/account.h"
#include "../table/budget.h"
#include "../table/clients.h"
#include "../table/ending.h"
#include "../table/load.h"
#include "../table/timing.h"
#include "../table/why.h"
#include "admit.h"
#include "pick.h"
#include "attempt.h"
#include "backend_report.h"
#include "trust.h"

static uint32_t index_of(const struct lb_udp *udp, const struct lb_udp_session *session)
{
    return lb_slab_index(&udp->sessions, session);
}

/* --- finding a client's session ------------------------------------------------------------------------------------- */

static uint32_t *bucket_of(const struct lb_udp *udp, uint32_t listener, const union lb_address *client)
{
    uint8_t bytes[24] = {(uint8_t)listener, (uint8_t)(listener >> 8)};
    if (client->any.sa_family == AF_INET6) {
        memcpy(bytes + 2, &client->v6.sin6_port, 2);
        memcpy(bytes + 8, &client->v6.sin6_addr, 16);
    } else {
        memcpy(bytes + 2, &client->v4.sin_port, 2);
        memcpy(bytes + 8, &client->v4.sin_addr, 4);
    }
    return &udp->bucket[lb_siphash(udp->hash_key, bytes, sizeof bytes) & udp->mask];
}

static int same_client(const union lb_address *a, const union lb_address *b)
{
    if (a->any.sa_family == AF_INET6)
        return a->v6.sin6_port == b->v6.sin6_port && a->v6.sin6_scope_id == b->v6.sin6_scope_id &&
               memcmp(&a->v6.sin6_addr, &b->v6.sin6_addr, sizeof a->v6.sin6_addr) == 0;
    return a->v4.sin_port == b->v4.sin_port && a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
}

struct lb_udp_session *lb_udp_session_find(const struct lb_udp *udp, uint32_t listener, const union lb_address *client,
                                           const struct lb_arrival *arrival)
{
    for (uint32_t at = *bucket_of(udp, listener, client); at != LB_SLAB_NONE; at = lb_udp_session_at(udp, at)->next) {
        struct lb_udp_session *session = lb_udp_session_at(udp, at);
        if (session->listener == listener && same_client(&session->client, client) &&
            memcmp(&session->arrival.ip, &arrival->ip, sizeof arrival->ip) == 0)
            return session;
    }
    return NULL;
}

static void unlink_session(struct lb_udp *udp, const struct lb_udp_session *session)
{
    uint32_t *at = bucket_of(udp, session->listener, &session->client);
    while (lb_udp_session_at(udp, *at) != session)
        at = &lb_udp_session_at(udp, *at)->next;
    *at = session->next;
}

/* --- the end -------------------------------------------------------------------------------------------------------- */

static void leave_backend(struct lb_udp *udp, struct lb_udp_session *session, enum lb_end why)
{
    struct lb_worker_context *ctx = udp->ctx;
    if (session->fd >= 0)
        close(session->fd);
    session->fd = -1;
    session->generation++; /* events that are still to come were for the closed socket */
    if (session->backend == LB_NONE)
        return;
    lb_load_give(&ctx->shm, ctx->worker, session->pool, session->backend, 1);
    lb_why_end(&ctx->shm, ctx->worker, session->decision, why, 0, ctx->now_us);
    session->backend = LB_NONE;
}

/* Silence is how datagrams end, once there was a reply. */
static enum lb_end as_recorded(const struct lb_udp_session *session, enum lb_end why)
{
    return why == LB_ENDED_IDLE && session->replied ? LB_ENDED_DONE : why;
}

static void account(struct lb_udp *udp, const struct lb_udp_session *session, enum lb_end why)
{
    struct lb_worker_context *ctx = udp->ctx;
    uint8_t client[16];
    lb_net_as_v6(&session->client, client);
    struct lb_ended ended = {
        .now_us = ctx->now_us,
        .began_us = session->began_us,
        .bytes_in = session->bytes_in,
        .bytes_out = session->bytes_out,
        .listener = session->listener,
        .pool = session->pool,
        .backend =
            session->backend != LB_NONE || !session->tried_count ? session->backend : session->tried[session->tried_count - 1],
        .connect_us = LB_NEVER_US,
        .first_us = session->first_us,
        .client = client,
        .client_port = lb_net_port(&session->client),
        .kind = LB_RECORD_DATAGRAMS,
        .end = as_recorded(session, why),
        .tried = session->tried_count,
    };
    lb_account(&ctx->shm, ctx->worker, &ended);
}

static void leave(struct lb_udp *udp, struct lb_udp_session *session, enum lb_end why)
{
    leave_backend(udp, session, as_recorded(session, why));
    unlink_session(udp, session);
    lb_timer_cancel(&session->timer);
    session->live = 0;
    lb_client_leave(&udp->ctx->shm, udp->ctx->worker, session->counted);
    udp->at[session->listener].sessions--;
    lb_ending_count(udp->ctx->row, why);
    lb_add(&udp->ctx->row->active, UINT64_MAX); /* one less */
    lb_slab_give(&udp->sessions, index_of(udp, session));
    lb_udp_close_when_empty(udp, session->listener);
}

void lb_udp_session_end(struct lb_udp *udp, struct lb_udp_session *session, enum lb_end why)
{
    struct lb_worker_context *ctx = udp->ctx;
    if (!lb_ending_is_refusal(why))
        lb_timing_note(&ctx->shm, ctx->worker, session->pool, LB_TIMING_SESSION, ctx->now_us - session->began_us);
    account(udp, session, why);
    leave(udp, session, why);
}

/* --- reaching a backend --------------------------------------------------------------------------------------------- */

static uint32_t pick(const struct lb_attempt *attempt)
{
    struct lb_udp_session *session = attempt->client;
    struct lb_picked claim = {session->pool, 1, session->key, session->tried, session->tried_count, .datagrams = 1};
    return lb_pick_backend(attempt->ctx, &claim, &session->decision);
}

static int watch(struct lb_udp *udp, struct lb_udp_session *session, int fd)
{
    return lb_loop_watch(&udp->ctx->loop, fd, EPOLLIN, lb_tag_of(LB_TAG_UDP, index_of(udp, session), session->generation));
}

static int connect_to(const struct lb_attempt *attempt)
{
    struct lb_udp_session *session = attempt->client;
    const struct lb_backend_row *row = &attempt->ctx->shm.backends[session->backend];
    struct lb_destination to;
    lb_backend_destination(row, &to);
    session->tenant = row->generation;
    session->asked = 0;
    lb_add(&attempt->ctx->row->connects, 1);
    int fd = socket(to.at.any.sa_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_UDP);
    if (fd < 0)
        return errno;
    if (session->many)
        lb_datagram_prepare(fd, to.at.any.sa_family, 0);
    if (connect(fd, &to.at.any, to.length) < 0 || watch(attempt->context, session, fd) < 0) {
        int error = errno;
        close(fd);
        return error;
    }
    session->fd = fd;
    return 0;
}

static void leave_tried(const struct lb_attempt *attempt, enum lb_end why)
{
    leave_backend(attempt->context, attempt->client, why);
}

static const struct lb_attempt_ops udp_ops = {.pick = pick, .connect = connect_to, .leave = leave_tried};

static struct lb_attempt attempt_of(struct lb_udp *udp, struct lb_udp_session *session)
{
    return (struct lb_attempt){
        .ops = &udp_ops,
        .ctx = udp->ctx,
        .context = udp,
        .client = session,
        .tried = session->tried,
        .tried_count = &session->tried_count,
        .shortages = &session->shortages,
        .backend = &session->backend,
        .pool = session->pool,
    };
}

int lb_udp_session_reach(struct lb_udp *udp, struct lb_udp_session *session, int error)
{
    struct lb_attempt attempt = attempt_of(udp, session);
    if (lb_attempt_next(&attempt, error, LB_NONE) == LB_ATTEMPT_BEGUN)
        return 1;
    lb_udp_session_end(udp, session, lb_attempt_end(&attempt));
    return 0;
}

void lb_udp_session_expect_many(struct lb_udp_session *session)
{
    session->many = 1;
    lb_datagram_prepare(session->fd, AF_UNSPEC, 0);
}

static uint64_t idle_ms(const struct lb_udp *udp, const struct lb_udp_session *session)
{
    return udp->ctx->shm.listeners[session->listener].idle_timeout_ms;
}

/* Places are counted over all that a worker has: the bound of sessions is one. */
static int has_room(const struct lb_udp *udp)
{
    return udp->ctx->row->active + udp->ctx->prereads < udp->ctx->sessions.capacity &&
           udp->sessions.used < udp->sessions.capacity;
}

/* A place for a session, where its client's datagrams find it. It has no backend yet. */
static struct lb_udp_session *list(struct lb_udp *udp, const struct lb_udp_session *like)
{
    uint32_t index = lb_slab_take(&udp->sessions), *bucket = bucket_of(udp, like->listener, &like->client);
    struct lb_udp_session *session = lb_udp_session_at(udp, index);
    uint32_t generation = session->generation;
    *session = *like;
    session->timer = (struct lb_timer){0};
    session->fd = -1;
    session->generation = generation;
    session->next = *bucket;
    session->live = 1;
    *bucket = index;
    udp->at[session->listener].sessions++;
    lb_add(&udp->ctx->row->accepted, 1);
    lb_add(&udp->ctx->row->active, 1);
    return session;
}

struct lb_udp_session *lb_udp_session_open(struct lb_udp *udp, uint32_t listener, const union lb_address *client,
                                           const struct lb_arrival *arrival)
{
    struct lb_worker_context *ctx = udp->ctx;
    if (udp->at[listener].closing)
        return NULL;
    if (!has_room(udp)) {
        lb_count_refused(ctx, LB_ENDED_RESOURCE);
        return NULL;
    }
    struct lb_ends ends = {.client = *client};
    if (!lb_admit(ctx, listener, &ends, LB_ASKED_PEER))
        return NULL;
    struct lb_udp_session *session = list(udp, &(struct lb_udp_session){.client = *client,
                                                                        .arrival = *arrival,
                                                                        .key = lb_net_address_hash(client),
                                                                        .began_us = ctx->now_us,
                                                                        .first_us = LB_NEVER_US,
                                                                        .backend = LB_NONE,
                                                                        .counted = ends.counted,
                                                                        .moved_ms = (uint32_t)lb_now_ms(ctx),
                                                                        .listener = (uint16_t)listener,
                                                                        .pool = (uint16_t)ctx->shm.listeners[listener].pool});
    lb_account_accepted(&ctx->shm, ctx->worker, listener);
    lb_budget_session(&ctx->shm, ctx->worker, session->pool, (uint32_t)(ctx->now_us / 1000000));
    lb_timer_set(&udp->wheel, &session->timer, lb_now_ms(ctx) + idle_ms(udp, session));
    return lb_udp_session_reach(udp, session, 0) ? session : NULL;
}

/* --- from one worker to the next -------------------------------------------------------------------------------------- */

static uint32_t count_client(struct lb_udp *udp, const struct lb_udp_session *session)
{
    const struct lb_listener_row *row = &udp->ctx->shm.listeners[session->listener];
    uint8_t ip[16];
    if (!row->client_limits || lb_listener_trusts(row, &session->client))
        return 0;
    lb_net_as_v6(&session->client, ip);
    return lb_client_count(&udp->ctx->shm, udp->ctx->worker, session->listener, ip, udp->ctx->now_us);
}

struct lb_udp_session *lb_udp_session_take(struct lb_udp *udp, const struct lb_udp_session *like, int fd)
{
    struct lb_worker_context *ctx = udp->ctx;
    struct lb_udp_session *session = has_room(udp) ? list(udp, like) : NULL;
    if (session && fd >= 0 && watch(udp, session, fd) == 0)
        session->fd = fd;
    else if (fd >= 0)
        close(fd);
    if (!session)
        return NULL;
    session->backend = session->fd < 0 ? LB_NONE : like->backend;
    if (session->backend != LB_NONE)
        lb_load_charge(&ctx->shm, ctx->worker, session->pool, session->backend, 1);
    session->decision = 0;
    session->counted = count_client(udp, session);
    uint32_t still_ms = (uint32_t)lb_now_ms(ctx) - session->moved_ms;
    uint64_t limit_ms = idle_ms(udp, session);
    lb_timer_set(&udp->wheel, &session->timer, lb_now_ms(ctx) + (still_ms < limit_ms ? limit_ms - still_ms : 1));
    return session;
}

void lb_udp_session_leave(struct lb_udp *udp, struct lb_udp_session *session)
{
    if (session->fd >= 0) /* the socket lives on elsewhere, and would go on sending us events (epoll(7)) */
        lb_loop_unwatch(&udp->ctx->loop, session->fd);
    leave(udp, session, LB_ENDED_MOVED);
}

/* --- losing one, and time ------------------------------------------------------------------------------------------- */

/* A session stays with its backend while that is there, draining or not; from one that is down it moves. */
static int is_gone(const struct lb_udp *udp, const struct lb_udp_session *session)
{
    const struct lb_backend_row *row = &udp->ctx->shm.backends[session->backend];
    uint32_t state = __atomic_load_n(&row->state, __ATOMIC_RELAXED);
    return row->generation != session->tenant || state == LB_DOWN || state == LB_GONE || state == LB_FREE;
}

int lb_udp_session_has_backend(struct lb_udp *udp, struct lb_udp_session *session)
{
    if (session->fd >= 0 && !is_gone(udp, session))
        return 1;
    if (session->fd >= 0) {
        leave_backend(udp, session, LB_ENDED_CUT);
        session->tried_count = session->shortages = 0;
    }
    return lb_udp_session_reach(udp, session, 0);
}

void lb_udp_session_refused(struct lb_udp *udp, struct lb_udp_session *session, int error)
{
    if (lb_is_shortage(error)) /* of a read: it comes again */
        return;
    struct lb_attempt attempt = attempt_of(udp, session);
    if (!lb_attempt_failed(&attempt, error))
        lb_udp_session_end(udp, session, LB_ENDED_BACKEND);
}

void lb_udp_session_fire(void *context, struct lb_timer *timer)
{
    struct lb_udp *udp = context;
    struct lb_udp_session *session = (struct lb_udp_session *)(void *)timer;
    uint32_t still_ms = (uint32_t)lb_now_ms(udp->ctx) - session->moved_ms;
    uint64_t limit_ms = idle_ms(udp, session);
    if (still_ms < limit_ms) {
        lb_timer_set(&udp->wheel, &session->timer, lb_now_ms(udp->ctx) + limit_ms - still_ms);
        return;
    }
    if (session->owed && session->backend != LB_NONE)
        lb_report_failed(udp->ctx, session->pool, session->backend, 0);
    lb_udp_session_end(udp, session, LB_ENDED_IDLE);
}
