#include "session_state.h"

#include <errno.h>
#include <string.h>

#include "../core/net.h"
#include "../table/account.h"

enum { LASTING_MS = 1000 };

/* from \ to     FREE  CONNECTING  OPEN  HALF */
static const uint8_t allowed[4][4] = {
    [LB_SESSION_FREE] = {0, 1, 0, 0},
    [LB_SESSION_CONNECTING] = {1, 1, 1, 0}, /* to itself: another backend is tried */
    [LB_SESSION_OPEN] = {1, 0, 0, 1},
    [LB_SESSION_HALF] = {1, 0, 0, 0},
};

uint64_t lb_session_limit_ms(const struct lb_worker_context *ctx, const struct lb_session *session)
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
void lb_session_keep_alive(struct lb_worker_context *ctx, struct lb_session *session)
{
    uint32_t idle_s = ctx->shm.pools[session->pool].tcp_keepalive_s;
    if (idle_s && (session->state == LB_SESSION_OPEN || lb_session_limit_ms(ctx, session) > (uint64_t)idle_s * 1000))
        (void)lb_net_keep_alive(session->side[LB_BACKEND].fd, idle_s);
    session->kept = 1;
}

struct lb_look lb_session_look(const struct lb_worker_context *ctx, struct lb_session *session)
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
    uint64_t limit_ms = lb_session_limit_ms(ctx, session);
    if (session->state != LB_SESSION_OPEN && session->state != LB_SESSION_HALF)
        return limit_ms;
    struct lb_look look = lb_session_look(ctx, session);
    uint64_t look_ms = lb_peers_next_ms(&look, limit_ms);
    return session->state == LB_SESSION_OPEN && !session->kept && look_ms > LASTING_MS ? LASTING_MS : look_ms;
}

void lb_session_move(struct lb_worker_context *ctx, struct lb_session *session, enum lb_session_state to)
{
    if (!allowed[session->state][to])
        __builtin_trap();
    session->state = (uint8_t)to;
    if (to == LB_SESSION_FREE)
        lb_timer_cancel(&session->timer);
    else
        lb_timer_set(&ctx->wheel, &session->timer, lb_now_ms(ctx) + look_in_ms(ctx, session));
    if (to == LB_SESSION_HALF && !session->kept)
        lb_session_keep_alive(ctx, session);
}

_Static_assert(sizeof(struct lb_session) == 192, "csrc/l4/session_state.h says so");

void lb_session_begin_to_flow(struct lb_worker_context *ctx, struct lb_session *session)
{
    lb_proxy_info_drop(&ctx->proxy_info, session->proxy_info);
    memset(session->flow, 0, sizeof session->flow);
    session->bytes[LB_CLIENT] = session->bytes[LB_BACKEND] = 0;
    session->moved_ms = (uint32_t)lb_now_ms(ctx);
    session->first_us = LB_NEVER_US;
    lb_session_move(ctx, session, LB_SESSION_OPEN);
}

int lb_session_watch(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name side, enum lb_attaching how)
{
    uint64_t tag = lb_tag_of((enum lb_tag)side, lb_session_index(ctx, session), session->generation);
    return lb_loop_attach(&ctx->loop, session->side[side].fd, tag, how);
}
