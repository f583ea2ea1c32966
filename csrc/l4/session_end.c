#include "session_end.h"

#include "../table/account.h"
#include "../table/clients.h"
#include "../table/timing.h"
#include "offload/offload.h"
#include "relay.h"
#include "session_attempt.h"

static uint64_t *ending_counter(struct lb_worker_row *row, enum lb_session_ending ending)
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

static enum lb_fate fate_of(enum lb_session_ending ending)
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

static enum lb_end end_of(enum lb_session_ending ending)
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

static void account(struct lb_worker_context *ctx, const struct lb_session *session, enum lb_session_ending why)
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

/* A peer must not take a cut response for a whole one; an idle one may read a plain end. */
static int ends_in_reset(struct lb_worker_context *ctx, struct lb_session *session, enum lb_session_ending why)
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

void lb_session_end(struct lb_worker_context *ctx, struct lb_session *session, enum lb_session_ending why)
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
    lb_session_leave_backend(ctx, session, fate_of(why));
    lb_client_leave(&ctx->shm, ctx->worker, session->counted);
    lb_session_move(ctx, session, LB_SESSION_FREE);
    session->generation++;
    lb_add(ending_counter(row, why), 1);
    lb_add(why <= REFUSED_RESOURCE ? &row->refused : &row->closed, 1);
    lb_add(&row->active, UINT64_MAX); /* one less */
    /* last: whoever sees the end finds it counted */
    lb_side_close(&session->side[LB_CLIENT], reset);
    lb_side_close(&session->side[LB_BACKEND], reset);
    if (!session->queued) /* else the list gives it back */
        lb_slab_give(&ctx->sessions, lb_session_index(ctx, session));
}
