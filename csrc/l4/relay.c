#include "relay.h"

#include <errno.h>

#include "../table/account.h"
#include "lane.h"
#include "offload/offload.h"

enum {
    TURN_BYTES = 1 << 20,  /* one direction's share of a turn */
    TRICKLE_BYTES = 32768, /* a spliced direction that moves less goes back to copying */
};

/* One direction of a session, with its two ends at hand. */
struct direction {
    struct lb_lane lane; /* first: its parts are used most */
    struct lb_session *session;
    struct lb_flow *other;
    enum lb_side_name name;
    uint64_t moved; /* bytes in this call */
};

/* A response's part arrived from the backend. See ack.h for the why. */
static void acknowledge(struct direction *direction, size_t bytes)
{
    struct lb_worker_context *ctx = direction->lane.ctx;
    struct lb_session *session = direction->session;
    struct lb_backend_health *health = lb_shm_health(&ctx->shm, ctx->worker, session->backend);
    uint32_t pause_ms = (uint32_t)lb_now_ms(ctx) - session->moved_ms;
    lb_lane_acknowledge(ctx, direction->lane.from, health, bytes, session->asked, &session->acked, pause_ms);
    session->asked = 0;
}

static void arrived(struct direction *direction, size_t bytes)
{
    struct lb_worker_context *ctx = direction->lane.ctx;
    struct lb_session *session = direction->session;
    if (direction->name == LB_BACKEND) {
        if (session->first_us == LB_NEVER_US)
            session->first_us = lb_account_us(session->began_us, ctx->now_us);
        acknowledge(direction, bytes);
        lb_add(&ctx->row->bytes_out, bytes);
    } else {
        session->asked = 1;
        lb_add(&ctx->row->bytes_in, bytes);
    }
    session->bytes[direction->name] += bytes;
    session->moved_ms = (uint32_t)lb_now_ms(ctx);
    if (session->reads < LB_OFFLOAD_AFTER)
        session->reads++;
    direction->moved += bytes;
}

/* --- with the kernel's help ------------------------------------------------------------------------------------------ */

/* A read found nothing, or the end. What the kernel has handed up may still be on its way. */
static enum lb_step look_behind(struct direction *direction, enum lb_step silence)
{
    if (silence != LB_STEP_END && silence != LB_STEP_BLOCKED)
        return silence;
    switch (lb_offload_handed_up(direction->lane.ctx, direction->session, direction->name)) {
    case LB_SYNCED:
        return silence;
    case LB_UNSYNCED:
        direction->lane.from->readable = 1;
        return LB_STEP_BLOCKED;
    case LB_LOST:
        return LB_STEP_FROM_FAILED;
    }
    return silence;
}

/* What the kernel forwarded before must be there first. */
static enum lb_step follow(struct direction *direction)
{
    if (!direction->session->offload)
        return LB_STEP_MOVED;
    switch (lb_offload_synced(direction->lane.ctx, direction->session, direction->name)) {
    case LB_SYNCED:
        return LB_STEP_MOVED;
    case LB_UNSYNCED:
        return LB_STEP_BLOCKED;
    case LB_LOST:
        return LB_STEP_TO_FAILED;
    }
    return LB_STEP_TO_FAILED;
}

/* So many of the bytes that it handed up have gone out. */
static void tell_sent(struct direction *direction, size_t sent)
{
    if (sent && direction->session->offload && lb_offload_sent(direction->lane.ctx, direction->session, direction->name, sent))
        direction->lane.from->readable = 1;
}

/* --- steps ----------------------------------------------------------------------------------------------------------- */

/* Nobody may write yet: what came is held. */
static enum lb_step hold_back(struct direction *direction, const char *bytes, size_t count)
{
    direction->lane.to->writable = 0;
    lb_sendq_preload(direction->lane.ctx, direction->lane.flow, bytes, (uint32_t)count);
    return LB_STEP_BLOCKED;
}

static enum lb_step send_on(struct direction *direction, const char *bytes, size_t count)
{
    enum lb_step may = follow(direction);
    if (may == LB_STEP_BLOCKED)
        return hold_back(direction, bytes, count);
    if (may != LB_STEP_MOVED)
        return may;
    enum lb_step step = lb_lane_send(&direction->lane, bytes, count);
    if (step != LB_STEP_TO_FAILED)
        tell_sent(direction, count - direction->lane.flow->pending);
    return step;
}

/* A source that brought no bytes: its end, or its failure, is passed on when all is delivered. */
static enum lb_step source_silent(struct direction *direction, enum lb_step silence)
{
    if (direction->session->offload)
        silence = look_behind(direction, silence);
    if (silence == LB_STEP_END)
        direction->lane.flow->end = LB_FLOW_ENDING;
    if (silence != LB_STEP_FROM_FAILED)
        return silence;
    direction->lane.from->failed = 1;
    direction->lane.flow->end = LB_FLOW_FAILING;
    return LB_STEP_END;
}

static enum lb_step copy_step(struct direction *direction)
{
    struct lb_lane *lane = &direction->lane;
    char *scratch = lane->ctx->scratch;
    size_t got = 0;
    if (!lb_buffer_pool_ready(&lane->ctx->buffers))
        return LB_STEP_STARVED;
    enum lb_step step = lb_lane_read(lane, scratch, LB_SCRATCH_BYTES, &got);
    if (step != LB_STEP_MOVED)
        return source_silent(direction, step);
    arrived(direction, got);
    return send_on(direction, scratch, got);
}

static enum lb_step splice_step(struct direction *direction)
{
    size_t got = 0;
    enum lb_step step = lb_lane_splice(&direction->lane, LB_PIPE_BYTES, &got);
    if (step != LB_STEP_MOVED)
        return source_silent(direction, step);
    arrived(direction, got);
    return LB_STEP_MOVED;
}

static enum lb_step flush(struct direction *direction)
{
    struct lb_lane *lane = &direction->lane;
    uint32_t held = lane->flow->pending;
    enum lb_step may = follow(direction);
    if (may == LB_STEP_BLOCKED)
        lane->to->writable = 0;
    if (may != LB_STEP_MOVED)
        return may;
    enum lb_step step = lb_lane_flush(lane);
    tell_sent(direction, held - lane->flow->pending);
    if (lane->flow->pending != held) /* a slow reader is not an idle one */
        direction->session->moved_ms = (uint32_t)lb_now_ms(lane->ctx);
    return step;
}

/* The destination: nobody takes these bytes. */
static void fail(struct direction *direction)
{
    direction->lane.to->failed = 1;
    direction->lane.flow->end = LB_FLOW_BROKEN;
}

/* All that was held is out: pass the source's end on, if its last words fit. An end beside a broken direction is no orderly one. */
static enum lb_step finish(struct direction *direction)
{
    struct lb_side *from = direction->lane.from, *to = direction->lane.to;
    struct lb_flow *flow = direction->lane.flow;
    enum lb_step may = follow(direction);
    if (may == LB_STEP_BLOCKED)
        return LB_STEP_BLOCKED;
    if (may == LB_STEP_TO_FAILED) {
        fail(direction);
        return LB_STEP_END;
    }
    if (flow->end == LB_FLOW_FAILING || direction->other->end == LB_FLOW_BROKEN) {
        flow->end = LB_FLOW_BROKEN;
        return LB_STEP_END;
    }
    if (lb_side_is_cut(from)) {
        lb_side_finish_cut(to);
    } else if (to->tls || direction->other->end != LB_FLOW_CLOSED) { /* else both ends are closed in a moment */
        if (lb_side_finish(to) < 0) {
            to->writable = 0;
            return LB_STEP_BLOCKED;
        }
    }
    flow->end = LB_FLOW_CLOSED;
    return LB_STEP_END;
}

/* One step: write first, then read. */
static enum lb_step step(struct direction *direction)
{
    struct lb_lane *lane = &direction->lane;
    struct lb_flow *flow = lane->flow;
    if (flow->pending)
        return lane->to->writable ? flush(direction) : LB_STEP_BLOCKED;
    if (flow->end != LB_FLOW_OPEN)
        return lane->to->writable || !lane->to->tls ? LB_STEP_END : LB_STEP_BLOCKED;
    if (!lane->from->readable || !lane->to->writable)
        return LB_STEP_BLOCKED;
    if (!direction->session->offload && lb_lane_wants_splice(lane) && lb_sendq_take_pipe(lane->ctx, flow))
        return splice_step(direction);
    lb_sendq_drop(lane->ctx, flow); /* an empty pipe, if the direction goes back to copying */
    return copy_step(direction);
}

/* A direction that waits holds nothing but bytes under way. */
static void settle(struct direction *direction)
{
    struct lb_flow *flow = direction->lane.flow;
    if (flow->pending)
        return;
    if (flow->holds == LB_HOLDS_PIPE && direction->moved < TRICKLE_BYTES)
        flow->streak = 0;
    lb_sendq_drop(direction->lane.ctx, flow);
}

enum lb_pump lb_relay_pump(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name from)
{
    struct lb_flow *flow = &session->flow[from];
    struct direction direction = {
        .lane = {ctx, &session->side[from], &session->side[!from], flow, &flow->streak},
        .session = session,
        .other = &session->flow[!from],
        .name = from,
    };
    if (session->offload && flow->end < LB_FLOW_CLOSED && direction.lane.to->hung_up && lb_offload_is_lost(ctx, session, from))
        fail(&direction);
    while (flow->end < LB_FLOW_CLOSED && direction.moved < TURN_BYTES) {
        switch (step(&direction)) {
        case LB_STEP_MOVED:
            break;
        case LB_STEP_BLOCKED:
            settle(&direction);
            return LB_PUMP_WAIT;
        case LB_STEP_STARVED:
            return LB_PUMP_STARVED;
        case LB_STEP_LATER:
            return LB_PUMP_MORE;
        case LB_STEP_END:
            if (finish(&direction) == LB_STEP_BLOCKED)
                return LB_PUMP_WAIT;
            break;
        case LB_STEP_TO_FAILED:
        case LB_STEP_FROM_FAILED: /* nor does any step above come to this, or to the next two */
        case LB_STEP_BAD:
        case LB_STEP_TOO_LARGE:
            fail(&direction);
            break;
        }
    }
    if (flow->end >= LB_FLOW_CLOSED)
        lb_sendq_drop(ctx, flow);
    return flow->end < LB_FLOW_CLOSED ? LB_PUMP_MORE : LB_PUMP_WAIT;
}
