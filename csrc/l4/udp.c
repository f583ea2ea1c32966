#include "udp.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/shortage.h"
#include "../table/account.h"
#include "../table/timing.h"
#include "backend_report.h"
#include "udp_move.h"
#include "udp_session.h"

enum { BATCHES_PER_EVENT = 4 };

/* --- from the client ------------------------------------------------------------------------------------------------ */

/* Not the backend's doing, or not for good: this datagram is lost, as it might be on any way. */
static int is_lost(int error)
{
    return error == -EAGAIN || error == -EMSGSIZE || error == -EPERM || error == -EINVAL || lb_is_shortage(-error);
}

static void count_in(struct lb_udp *udp, struct lb_udp_session *session, const struct lb_datagram *datagram)
{
    struct lb_worker_context *ctx = udp->ctx;
    uint32_t parts = lb_datagram_parts(datagram), responses = ctx->shm.listeners[session->listener].responses;
    lb_add(&ctx->row->datagrams_in, parts);
    lb_add(&ctx->row->bytes_in, datagram->count);
    session->bytes_in += datagram->count;
    session->owed += parts * responses;
    session->moved_ms = (uint32_t)lb_now_ms(ctx);
    if (!session->asked) {
        session->asked = 1;
        session->asked_us = (uint32_t)ctx->now_us;
    }
}

static void forward(struct lb_udp *udp, struct lb_udp_session *session, const struct lb_datagram *datagram)
{
    while (lb_udp_session_has_backend(udp, session)) {
        int error = lb_datagram_send(session->fd, datagram);
        if (!error) {
            count_in(udp, session, datagram);
            return;
        }
        if (is_lost(error))
            break;
        if (!lb_udp_session_reach(udp, session, -error)) /* an earlier one was refused, and this one not sent (udp(7)) */
            break;
    }
    lb_add(&udp->ctx->row->datagrams_dropped, lb_datagram_parts(datagram));
}

static void take_in(struct lb_udp *udp, uint32_t listener, uint32_t at)
{
    struct lb_arrival arrival;
    struct lb_datagram datagram = lb_inbox_at(&udp->inbox, at, &arrival);
    const union lb_address *client = &udp->inbox.peer[at];
    struct lb_udp_session *session = lb_udp_session_find(udp, listener, client, &arrival);
    if (!session)
        session = lb_udp_session_open(udp, listener, client, &arrival);
    if (session)
        forward(udp, session, &datagram);
    else
        lb_add(&udp->ctx->row->datagrams_dropped, lb_datagram_parts(&datagram));
}

void lb_udp_listener_event(struct lb_udp *udp, uint32_t listener)
{
    if (udp->at[listener].moves) /* told before the order to move them, in the same turn: others read it from now on */
        return;
    for (int batch = 0; batch < BATCHES_PER_EVENT && udp->at[listener].fd >= 0; batch++) {
        int got = lb_inbox_receive(&udp->inbox, udp->at[listener].fd, LB_BATCH);
        for (int i = 0; i < got; i++)
            take_in(udp, listener, (uint32_t)i);
        if (got < LB_BATCH)
            return;
    }
}

/* --- from the backend ----------------------------------------------------------------------------------------------- */

static void count_out(struct lb_udp *udp, struct lb_udp_session *session, uint32_t first)
{
    struct lb_worker_context *ctx = udp->ctx;
    uint32_t parts = 0, bytes = 0;
    for (uint32_t i = first; i < udp->outbox.used; i++) {
        struct lb_datagram datagram = lb_outbox_at(&udp->outbox, i);
        parts += lb_datagram_parts(&datagram);
        bytes += datagram.count;
    }
    lb_add(&ctx->row->datagrams_out, parts);
    lb_add(&ctx->row->bytes_out, bytes);
    session->bytes_out += bytes;
    if (session->first_us == LB_NEVER_US)
        session->first_us = lb_account_us(session->began_us, ctx->now_us);
    session->moved_ms = (uint32_t)lb_now_ms(ctx);
    session->owed -= parts < session->owed ? parts : session->owed;
    session->replied = 1;
    session->tried_count = session->shortages = 0;
    if (session->asked) {
        session->asked = 0;
        lb_timing_note(&ctx->shm, ctx->worker, session->pool, LB_TIMING_RESPONSE, (uint32_t)ctx->now_us - session->asked_us);
        lb_report_responded(ctx, session->backend, (uint32_t)ctx->now_us - session->asked_us);
    } else if (!session->many) {
        lb_udp_session_expect_many(session);
    }
}

/* One reply to each datagram is what most have: it is received by the cheapest call, until there are more. */
static int receive_replies(struct lb_udp *udp, const struct lb_udp_session *session)
{
    int fd = udp->at[session->listener].fd;
    if (udp->outbox.used == LB_BATCH || (udp->outbox.used && udp->outbox.fd != fd))
        lb_udp_flush(udp);
    return session->many ? lb_outbox_receive(&udp->outbox, session->fd, fd)
                         : lb_outbox_receive_one(&udp->outbox, session->fd, fd);
}

void lb_udp_event(struct lb_udp *udp, uint32_t index, uint32_t generation, uint32_t events)
{
    struct lb_udp_session *session = lb_udp_session_at(udp, index);
    if (index >= udp->sessions.touched || !session->live || session->generation != generation)
        return;
    (void)events; /* an error is told by the call as well */
    int got = receive_replies(udp, session);
    uint32_t first = udp->outbox.used;
    if (got < 0)
        lb_udp_session_refused(udp, session, -got);
    if (got <= 0)
        return;
    udp->outbox.used += (uint32_t)got;
    lb_outbox_address(&udp->outbox, first, &session->client, &session->arrival);
    count_out(udp, session, first);
    if (udp->ctx->shm.listeners[session->listener].responses && !session->owed)
        lb_udp_session_end(udp, session, LB_ENDED_DONE);
}

/* --- time, cuts, stop ----------------------------------------------------------------------------------------------- */

void lb_udp_turn(struct lb_udp *udp)
{
    if (udp->outbox.used)
        lb_udp_flush(udp);
    if (udp->bucket)
        lb_wheel_turn(&udp->wheel, lb_now_ms(udp->ctx), lb_udp_session_fire, udp);
    lb_udp_move_turn(udp);
}

int lb_udp_wait(const struct lb_udp *udp)
{
    int wait = udp->bucket ? lb_wheel_wait(&udp->wheel, lb_now_ms(udp->ctx)) : -1, move = lb_udp_move_wait(udp);
    return wait < 0 || (move >= 0 && move < wait) ? move : wait;
}

void lb_udp_cut(struct lb_udp *udp)
{
    for (uint32_t i = 0; i < udp->sessions.touched; i++) {
        struct lb_udp_session *session = lb_udp_session_at(udp, i);
        if (session->live && session->backend != LB_NONE && lb_shm_is_cut(&udp->ctx->shm, session->backend))
            lb_udp_session_end(udp, session, LB_ENDED_CUT);
    }
}

void lb_udp_stop(struct lb_udp *udp)
{
    for (uint32_t i = 0; i < udp->sessions.touched; i++)
        if (lb_udp_session_at(udp, i)->live)
            lb_udp_session_end(udp, lb_udp_session_at(udp, i), LB_ENDED_STOPPED);
}

/* --- birth and death ------------------------------------------------------------------------------------------------ */

int lb_udp_open(struct lb_udp *udp, struct lb_worker_context *ctx, uint32_t max_sessions)
{
    udp->ctx = ctx;
    udp->successor = udp->predecessor = -1;
    udp->count = ctx->shm.head->max_listeners;
    udp->at = malloc(udp->count * sizeof *udp->at);
    if (!udp->at)
        return -ENOMEM;
    for (uint32_t i = 0; i < udp->count; i++)
        udp->at[i] = (struct lb_udp_socket){.fd = -1};
    lb_wheel_open(&udp->wheel, lb_now_ms(ctx));
    if (getrandom(udp->hash_key, sizeof udp->hash_key, 0) != sizeof udp->hash_key)
        return -EIO;
    return lb_slab_open(&udp->sessions, sizeof(struct lb_udp_session), max_sessions);
}

void lb_udp_close(struct lb_udp *udp)
{
    for (uint32_t i = 0; udp->at && i < udp->count; i++)
        if (udp->at[i].fd >= 0)
            close(udp->at[i].fd);
    if (udp->at)
        lb_udp_move_close(udp);
    free(udp->at);
    free(udp->bucket);
    lb_inbox_close(&udp->inbox);
    lb_inbox_close(&udp->outbox.room);
    lb_slab_close(&udp->sessions);
}
