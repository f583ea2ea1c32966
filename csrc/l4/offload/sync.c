#include <errno.h>

#include "progress.h"
#include "slots.h"

enum {
    FIRST_POLL_MS = 1,  /* a kernel thread that has something to send is asked again after so long (notes.c: ever more rarely), */
    LOST_AFTER_MS = 16, /* until it is known that a dead socket's bytes come no more */
};

/* Bytes that arrive are not to wake anybody: what comes to user space is told by a note. */
int lb_slot_watch(struct lb_worker_context *ctx, const struct lb_session *session, enum lb_side_name side, int bytes)
{
    struct lb_slot_state *slot = lb_slot_of(ctx, session);
    uint32_t events = EPOLLOUT | EPOLLRDHUP | EPOLLET | (bytes ? EPOLLIN : 0);
    uint64_t tag = lb_tag_of((enum lb_tag)side, slot->session, session->generation);
    slot->listens[side] = (uint8_t)bytes;
    return lb_loop_change(&ctx->loop, session->side[side].fd, events, tag);
}

static void count_lane(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name from)
{
    struct lb_slot_state *slot = lb_slot_of(ctx, session);
    const struct lb_slot_lane *lane = lb_lane_of(ctx, session, from);
    uint64_t forwarded = lb_lane_read(&lane->forwarded), fresh = forwarded - slot->counted[from];
    if (!fresh)
        return;
    slot->counted[from] = forwarded;
    session->bytes[from] += fresh;
    lb_add(from == LB_BACKEND ? &ctx->row->bytes_out : &ctx->row->bytes_in, fresh);
    lb_add(&ctx->row->bytes_offloaded, fresh);
    uint32_t now_ms = (uint32_t)lb_now_ms(ctx), moved_ms = (uint32_t)(lb_lane_read(&lane->moved_ns) / 1000000);
    if ((int32_t)(moved_ms - now_ms) > 0) /* it moved since the clock was read */
        moved_ms = now_ms;
    if ((int32_t)(moved_ms - session->moved_ms) > 0)
        session->moved_ms = moved_ms;
}

void lb_offload_count(struct lb_worker_context *ctx, struct lb_session *session)
{
    count_lane(ctx, session, LB_CLIENT);
    count_lane(ctx, session, LB_BACKEND);
}

static void wait_for_kernel(struct lb_worker_context *ctx, struct lb_slot_state *slot)
{
    struct lb_offload *offload = ctx->offload;
    if (slot->waits)
        return;
    slot->waits = 1;
    slot->poll_ms = FIRST_POLL_MS;
    slot->poll_at_ms = lb_now_ms(ctx) + FIRST_POLL_MS;
    slot->next = offload->waiting;
    offload->waiting = (uint32_t)(slot - offload->at);
}

/* What a backend of this host sends, is in the client's send queue before it sends more. What was forwarded to it, it must have read:
 * until then a kernel thread may have it still, and a reset that comes would take it away, but not what came after it. */
static enum lb_synced look_for_local(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name from)
{
    struct lb_slot_state *slot = lb_slot_of(ctx, session);
    uint64_t forwarded = lb_lane_read(&lb_lane_of(ctx, session, from)->forwarded);
    if (from == LB_BACKEND || forwarded == slot->synced[from])
        return LB_SYNCED;
    if (lb_local_look(&ctx->offload->local, session->offload - 1) & (LB_LOCAL_WAITS | LB_LOCAL_UNREAD))
        return LB_UNSYNCED;
    slot->synced[from] = forwarded;
    return LB_SYNCED;
}

static enum lb_synced look_for(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name from)
{
    struct lb_slot_state *slot = lb_slot_of(ctx, session);
    if (slot->local)
        return look_for_local(ctx, session, from);
    uint64_t forwarded = lb_lane_read(&lb_lane_of(ctx, session, from)->forwarded);
    struct lb_progress progress;
    if (forwarded == slot->synced[from])
        return LB_SYNCED;
    if (lb_progress_ask(session->side[!from].fd, &progress) < 0)
        return LB_LOST;
    int64_t arrived = (int64_t)(progress.queued - slot->start[!from] - slot->written[from]);
    if (progress.acked != slot->seen[from]) { /* a slow reader is not an idle one */
        slot->seen[from] = progress.acked;
        session->moved_ms = (uint32_t)lb_now_ms(ctx);
    }
    if (arrived < (int64_t)forwarded)
        return progress.is_dead ? LB_LOST : LB_UNSYNCED;
    slot->synced[from] = forwarded;
    return LB_SYNCED;
}

enum lb_synced lb_offload_synced(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name from)
{
    enum lb_synced synced = lb_offload_is_broken(ctx, session) ? LB_UNSYNCED : look_for(ctx, session, from);
    if (synced == LB_UNSYNCED)
        wait_for_kernel(ctx, lb_slot_of(ctx, session));
    return synced;
}

/* Was anything handed up that has not been passed on? */
int lb_slot_is_behind(const struct lb_worker_context *ctx, const struct lb_session *session, enum lb_side_name from)
{
    const struct lb_slot_state *slot = lb_slot_of(ctx, session);
    return slot->attached[from] && lb_lane_read(&lb_lane_of(ctx, session, from)->passed) != slot->written[from];
}

enum lb_synced lb_offload_handed_up(struct lb_worker_context *ctx, const struct lb_session *session, enum lb_side_name from)
{
    struct lb_slot_state *slot = lb_slot_of(ctx, session);
    struct lb_progress progress;
    if (!lb_slot_is_behind(ctx, session, from))
        return LB_SYNCED;
    if (slot->poll_ms >= LOST_AFTER_MS && (lb_progress_ask(session->side[from].fd, &progress) < 0 || progress.is_dead))
        return LB_LOST;
    if (!slot->listens[from])
        (void)lb_slot_watch(ctx, session, from, 1);
    wait_for_kernel(ctx, slot);
    return LB_UNSYNCED;
}

int lb_offload_is_lost(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name from)
{
    return look_for(ctx, session, from) == LB_LOST;
}

int lb_offload_sent(struct lb_worker_context *ctx, const struct lb_session *session, enum lb_side_name from, size_t bytes)
{
    struct lb_slot_lane *lane = lb_lane_of(ctx, session, from);
    uint64_t taken = lb_slot_of(ctx, session)->written[from] += bytes;
    __atomic_store_n(&lane->taken, taken, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the program raises `passed`, then looks at `taken` */
    if (lb_slot_is_behind(ctx, session, from))
        return 1;
    if (lb_slot_of(ctx, session)->listens[from])
        (void)lb_slot_watch(ctx, session, from, 0);
    return 0;
}

int lb_offload_is_broken(const struct lb_worker_context *ctx, const struct lb_session *session)
{
    return __atomic_load_n(&lb_lane_of(ctx, session, LB_CLIENT)->broken, __ATOMIC_ACQUIRE) ||
           __atomic_load_n(&lb_lane_of(ctx, session, LB_BACKEND)->broken, __ATOMIC_ACQUIRE);
}

int lb_offload_is_unsynced(struct lb_worker_context *ctx, struct lb_session *session)
{
    if (lb_offload_is_broken(ctx, session)) /* what is missing will never be there */
        return 1;
    for (int i = LB_CLIENT; i <= LB_BACKEND; i++) {
        enum lb_side_name from = (enum lb_side_name)i;
        if (lb_slot_is_behind(ctx, session, from))
            return 1;
        if (session->flow[from].end != LB_FLOW_CLOSED && look_for(ctx, session, from) != LB_SYNCED)
            return 1;
    }
    return 0;
}
