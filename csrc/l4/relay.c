#include "relay.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "../core/io.h"
#include "../core/net.h"
#include "../table/account.h"
#include "offload/offload.h"

enum {
    TURN_BYTES = 1 << 20,  /* one direction's share of a turn */
    TRICKLE_BYTES = 32768, /* a spliced direction that moves less goes back to copying */
    SMALL_RESPONSE = 16384,  /* the kernel acknowledges larger reads by itself */
};

/* What one read or write came to. */
enum io { IO_MOVED, IO_BLOCKED, IO_STARVED, IO_LATER, IO_END, IO_FAILED };

/* One direction with its two ends at hand. */
struct lane {
    struct lb_worker_context *ctx;
    struct lb_session *session;
    struct lb_flow *flow;
    struct lb_flow *other;
    struct lb_side *from;
    struct lb_side *to;
    enum lb_side_name name;
    uint64_t moved; /* bytes in this call */
};

static enum io blocked_or_failed(void)
{
    return errno == EAGAIN ? IO_BLOCKED : IO_FAILED;
}

void lb_relay_drop(struct lb_worker_context *ctx, struct lb_flow *flow)
{
    switch ((enum lb_hold)flow->holds) {
    case LB_HOLDS_NOTHING:
        return;
    case LB_HOLDS_BUFFER:
        lb_buffer_give(&ctx->buffers, flow->held);
        ctx->row->buffers--;
        break;
    case LB_HOLDS_LARGE:
        lb_buffer_give(&ctx->large, flow->held);
        ctx->row->buffers--;
        break;
    case LB_HOLDS_PIPE:
        lb_pipe_give(&ctx->pipes, flow->held, flow->pending == 0);
        ctx->row->pipes--;
        break;
    }
    flow->holds = LB_HOLDS_NOTHING;
    flow->pending = 0;
}

/* A response's part arrived from the backend. See ack.h for the why. */
static void acknowledge(struct lane *lane, size_t bytes)
{
    struct lb_worker_context *ctx = lane->ctx;
    struct lb_session *session = lane->session;
    struct lb_backend_health *health = lb_shm_health(&ctx->shm, ctx->worker, session->backend);
    uint32_t pause_ms = (uint32_t)lb_now_ms(ctx) - session->moved_ms;
    session->acked = (uint8_t)lb_ack_part(health, session->asked, (enum lb_ack)session->acked, pause_ms);
    session->asked = 0;
    if (session->acked == LB_ACK_YES && bytes < SMALL_RESPONSE) {
        lb_net_quickack(lane->from->fd);
        lb_add(&ctx->row->quickacks, 1);
    }
}

static void arrived(struct lane *lane, size_t bytes)
{
    struct lb_worker_row *row = lane->ctx->row;
    if (lane->name == LB_BACKEND) {
        if (lane->session->first_us == LB_NEVER_US)
            lane->session->first_us = lb_account_us(lane->session->began_us, lane->ctx->now_us);
        acknowledge(lane, bytes);
        lb_add(&row->bytes_out, bytes);
    } else {
        lane->session->asked = 1;
        lb_add(&row->bytes_in, bytes);
    }
    lane->session->bytes[lane->name] += bytes;
    lane->session->moved_ms = (uint32_t)lb_now_ms(lane->ctx);
    if (lane->session->reads < LB_OFFLOAD_AFTER)
        lane->session->reads++;
    lane->moved += bytes;
}

/* Keep what the destination did not take. The caller made sure that a buffer is free. */
static void hold(struct lane *lane, const char *bytes, size_t count)
{
    struct lb_flow *flow = lane->flow;
    flow->held = lb_buffer_take(&lane->ctx->buffers);
    flow->holds = LB_HOLDS_BUFFER;
    flow->start = 0;
    flow->pending = (uint32_t)count;
    memcpy(lb_buffer_at(&lane->ctx->buffers, flow->held), bytes, count);
    lane->ctx->row->buffers++;
}

/* A read brought no bytes: 0 for FIN, else errno speaks. */
static enum io source_silent(struct lane *lane, ssize_t got)
{
    if (got < 0 && errno == EBUSY)
        return IO_LATER;
    int silent = got == 0 || errno == EAGAIN;
    enum lb_settled rest =
        silent && lane->session->offload ? lb_offload_handed_up(lane->ctx, lane->session, lane->name) : LB_SETTLED;
    if (rest == LB_UNSETTLED)
        return IO_BLOCKED;
    if (rest == LB_LOST)
        got = -1, errno = ECONNRESET;
    if (got < 0 && blocked_or_failed() == IO_BLOCKED) {
        lane->from->readable = 0;
        return IO_BLOCKED;
    }
    lane->from->failed = got < 0;
    lane->flow->end = got < 0 ? LB_FLOW_FAILING : LB_FLOW_ENDING;
    return IO_END;
}

/* What the kernel forwarded before must be there first. */
static enum io follow(struct lane *lane)
{
    if (!lane->session->offload)
        return IO_MOVED;
    switch (lb_offload_settled(lane->ctx, lane->session, lane->name)) {
    case LB_SETTLED:
        return IO_MOVED;
    case LB_UNSETTLED:
        return IO_BLOCKED;
    case LB_LOST:
        return IO_FAILED;
    }
    return IO_FAILED;
}

/* The destination: nobody takes these bytes. */
static void fail(struct lane *lane)
{
    lane->to->failed = 1;
    lane->flow->end = LB_FLOW_BROKEN;
}

static enum io send_some(struct lane *lane, const char *bytes, size_t count, size_t *sent)
{
    enum io may = follow(lane);
    *sent = 0;
    if (may != IO_MOVED) {
        lane->to->writable = 0;
        return may;
    }
    ssize_t took = lb_side_send(lane->to, bytes, count);
    *sent = took < 0 ? 0 : (size_t)took;
    if (*sent && lane->session->offload && lb_offload_sent(lane->ctx, lane->session, lane->name, *sent))
        lane->from->readable = 1;
    if (*sent == count)
        return IO_MOVED;
    if (took < 0 && blocked_or_failed() == IO_FAILED)
        return IO_FAILED;
    lane->to->writable = 0;
    return IO_BLOCKED;
}

static enum io copy_step(struct lane *lane)
{
    char *scratch = lane->ctx->scratch;
    if (!lb_buffer_pool_ready(&lane->ctx->buffers))
        return IO_STARVED;
    ssize_t got = lb_side_recv(lane->from, scratch, LB_SCRATCH_BYTES);
    if (got <= 0)
        return source_silent(lane, got);
    size_t count = (size_t)got, sent;
    if (count < LB_SCRATCH_BYTES)
        lane->flow->streak = 0;
    else if (lane->flow->streak < LB_STREAMING)
        lane->flow->streak++;
    lb_side_got(lane->from, count, LB_SCRATCH_BYTES); /* emptied: what comes next raises an edge */
    arrived(lane, count);
    enum io result = send_some(lane, scratch, count, &sent);
    if (result == IO_BLOCKED)
        hold(lane, scratch + sent, count - sent);
    return result;
}

static int take_pipe(struct lane *lane)
{
    if (lane->flow->holds == LB_HOLDS_PIPE)
        return 1;
    uint32_t pipe = lb_pipe_take(&lane->ctx->pipes);
    if (pipe == LB_SLAB_NONE) {
        lb_add(&lane->ctx->row->pipe_misses, 1);
        return 0;
    }
    lane->flow->held = pipe;
    lane->flow->holds = LB_HOLDS_PIPE;
    lane->flow->pending = 0;
    lane->ctx->row->pipes++;
    return 1;
}

/* The pipe is empty here, so that EAGAIN speaks of the socket. A short splice says nothing: read on. */
static enum io splice_step(struct lane *lane)
{
    struct lb_pipe *pipe = lb_pipe_at(&lane->ctx->pipes, lane->flow->held);
    ssize_t got = lb_splice(lane->from->fd, pipe->in, LB_PIPE_BYTES);
    if (got > 0) {
        lane->flow->pending = (uint32_t)got;
        arrived(lane, (size_t)got);
        lb_add(&lane->ctx->row->bytes_spliced, (uint64_t)got);
        return IO_MOVED;
    }
    return source_silent(lane, got);
}

static enum io flush_buffer(struct lane *lane)
{
    struct lb_flow *flow = lane->flow;
    size_t sent;
    const char *bytes = lb_buffer_at(&lane->ctx->buffers, flow->held) + flow->start;
    enum io result = send_some(lane, bytes, flow->pending, &sent);
    flow->start += (uint32_t)sent;
    flow->pending -= (uint32_t)sent;
    return result;
}

static enum io flush_pipe(struct lane *lane)
{
    struct lb_flow *flow = lane->flow;
    struct lb_pipe *pipe = lb_pipe_at(&lane->ctx->pipes, flow->held);
    ssize_t took = lb_splice(pipe->out, lane->to->fd, flow->pending);
    if (took > 0) {
        flow->pending -= (uint32_t)took;
        return IO_MOVED;
    }
    if (took < 0 && blocked_or_failed() == IO_FAILED)
        return IO_FAILED;
    lane->to->writable = 0;
    return IO_BLOCKED;
}

static enum io flush(struct lane *lane)
{
    enum io result = lane->flow->holds == LB_HOLDS_PIPE ? flush_pipe(lane) : flush_buffer(lane);
    if (result == IO_MOVED) /* a slow reader is not an idle one */
        lane->session->moved_ms = (uint32_t)lb_now_ms(lane->ctx);
    return result;
}

static int wants_splice(const struct lane *lane)
{
    if (lane->from->tls || lane->to->tls || lane->session->offload)
        return 0;
    switch ((enum lb_datapath)lane->ctx->datapath) {
    case LB_COPY:
        return 0;
    case LB_SPLICE:
        return 1;
    case LB_AUTO:
    case LB_OFFLOAD: /* until the kernel has it */
        return lane->flow->streak >= LB_STREAMING;
    }
    return 0;
}

/* All that was held is out: pass the source's end on, if its last words fit. An end beside a broken direction is no orderly one. */
static enum io finish(struct lane *lane)
{
    enum io may = follow(lane);
    if (may == IO_BLOCKED)
        return IO_BLOCKED;
    if (may == IO_FAILED) {
        fail(lane);
        return IO_END;
    }
    if (lane->flow->end == LB_FLOW_FAILING || lane->other->end == LB_FLOW_BROKEN) {
        lane->flow->end = LB_FLOW_BROKEN;
        return IO_END;
    }
    if (lb_side_is_cut(lane->from)) {
        lb_side_finish_cut(lane->to);
    } else if (lane->to->tls || lane->other->end != LB_FLOW_CLOSED) { /* else both ends are closed in a moment */
        if (lb_side_finish(lane->to) < 0) {
            lane->to->writable = 0;
            return IO_BLOCKED;
        }
    }
    lane->flow->end = LB_FLOW_CLOSED;
    return IO_END;
}

/* One step: write first, then read. */
static enum io step(struct lane *lane)
{
    struct lb_flow *flow = lane->flow;
    if (flow->pending)
        return lane->to->writable ? flush(lane) : IO_BLOCKED;
    if (flow->holds == LB_HOLDS_BUFFER)
        lb_relay_drop(lane->ctx, flow);
    if (flow->end != LB_FLOW_OPEN)
        return lane->to->writable || !lane->to->tls ? IO_END : IO_BLOCKED;
    if (!lane->from->readable || !lane->to->writable)
        return IO_BLOCKED;
    if (wants_splice(lane) && take_pipe(lane))
        return splice_step(lane);
    lb_relay_drop(lane->ctx, flow); /* an empty pipe, if the direction goes back to copying */
    return copy_step(lane);
}

/* A direction that waits holds nothing but bytes under way. */
static void settle(struct lane *lane)
{
    struct lb_flow *flow = lane->flow;
    if (flow->pending)
        return;
    if (flow->holds == LB_HOLDS_PIPE && lane->moved < TRICKLE_BYTES)
        flow->streak = 0;
    lb_relay_drop(lane->ctx, flow);
}

enum lb_pump lb_relay_pump(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name from)
{
    struct lane lane = {
        .ctx = ctx,
        .session = session,
        .flow = &session->flow[from],
        .other = &session->flow[!from],
        .from = &session->side[from],
        .to = &session->side[!from],
        .name = from,
    };
    if (session->offload && lane.flow->end < LB_FLOW_CLOSED && lane.to->hung_up && lb_offload_is_lost(ctx, session, from))
        fail(&lane);
    while (lane.flow->end < LB_FLOW_CLOSED && lane.moved < TURN_BYTES) {
        switch (step(&lane)) {
        case IO_MOVED:
            break;
        case IO_BLOCKED:
            settle(&lane);
            return LB_PUMP_WAIT;
        case IO_STARVED:
            return LB_PUMP_STARVED;
        case IO_LATER:
            return LB_PUMP_MORE;
        case IO_END:
            if (finish(&lane) == IO_BLOCKED)
                return LB_PUMP_WAIT;
            break;
        case IO_FAILED:
            fail(&lane);
            break;
        }
    }
    if (lane.flow->end >= LB_FLOW_CLOSED)
        lb_relay_drop(ctx, lane.flow);
    return lane.flow->end < LB_FLOW_CLOSED ? LB_PUMP_MORE : LB_PUMP_WAIT;
}
