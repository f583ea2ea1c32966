#include "session_end.h"

#include "../table/account.h"
#include "../table/clients.h"
#include "../table/ending.h"
#include "../table/timing.h"
#include "offload/offload.h"
#include "sendq.h"
#include "session_attempt.h"

static void account(struct lb_worker_context *ctx, const struct lb_session *session, enum lb_end why)
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
        .end = why,
        .flags = (uint8_t)(by[session->first_over] | (session->side[LB_CLIENT].tls ? LB_RECORD_TLS : 0)),
        .tried = session->tried_count,
    };
    if (!lb_ending_is_refusal(why))
        lb_timing_note(&ctx->shm, ctx->worker, session->pool, LB_TIMING_SESSION, ctx->now_us - session->began_us);
    lb_account(&ctx->shm, ctx->worker, &ended);
}

static int is_undelivered(struct lb_worker_context *ctx, struct lb_session *session)
{
    return session->flow[LB_CLIENT].pending || session->flow[LB_BACKEND].pending ||
           (session->offload && lb_offload_is_unsynced(ctx, session));
}

/* A peer must not take a cut response for a whole one; an idle one may read a plain end. */
static int ends_in_reset(struct lb_worker_context *ctx, struct lb_session *session, enum lb_end why)
{
    switch ((enum lb_resets)lb_endings[why].resets) {
    case LB_RESETS_NEVER:
        return 0;
    case LB_RESETS_ALWAYS:
        return 1;
    case LB_RESETS_UNDELIVERED:
        break;
    }
    if (why == LB_ENDED_CUT && ctx->shm.backends[session->backend].state == LB_DOWN)
        return 1; /* an end would tell the client that all is said */
    return is_undelivered(ctx, session);
}

void lb_session_end(struct lb_worker_context *ctx, struct lb_session *session, enum lb_end why)
{
    int reset = ends_in_reset(ctx, session, why);

    if (session->offload)
        lb_offload_leave(ctx, session);
    account(ctx, session, why);
    if (session->state == LB_SESSION_CONNECTING) {
        lb_proxy_info_drop(&ctx->proxy_info, session->proxy_info);
    } else {
        lb_sendq_drop(ctx, &session->flow[LB_CLIENT]);
        lb_sendq_drop(ctx, &session->flow[LB_BACKEND]);
    }
    lb_session_leave_backend(ctx, session, why);
    lb_client_leave(&ctx->shm, ctx->worker, session->counted);
    lb_session_move(ctx, session, LB_SESSION_FREE);
    session->generation++;
    lb_ending_count(ctx->row, why);
    lb_add(&ctx->row->active, UINT64_MAX); /* one less */
    /* last: whoever sees the end finds it counted */
    lb_side_close(&session->side[LB_CLIENT], reset);
    lb_side_close(&session->side[LB_BACKEND], reset);
    if (!session->queued) /* else the list gives it back */
        lb_slab_give(&ctx->sessions, lb_session_index(ctx, session));
}
