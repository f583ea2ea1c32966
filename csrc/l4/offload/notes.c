#include <string.h>

#include "../../core/bpf.h"
#include "../session.h"
#include "slots.h"

enum {
    SWEEP_MS = 1000,   /* between looks at the figures of all */
    LAST_POLL_MS = 64, /* the longest that who waits for a kernel thread is left alone */
};

/* --- what the program says ---------------------------------------------------------------------------------------------------- */

/* A direction has something for user space, or has broken. */
static void wake(struct lb_worker_context *ctx, uint32_t index, enum lb_side_name from)
{
    struct lb_session *session = lb_slab_at(&ctx->sessions, ctx->offload->at[index].session);
    session->side[from].readable = 1;
    lb_session_wake(ctx, session);
}

static void heard(struct lb_worker_context *ctx, const struct lb_slot_note *note)
{
    struct lb_offload *offload = ctx->offload;
    uint32_t index = note->lane / 2;
    if (index < offload->slots && offload->at[index].taken && offload->at[index].generation == note->generation)
        wake(ctx, index, (enum lb_side_name)(note->lane & 1));
}

/* As bpf_ringbuf's readers do (Documentation/bpf/ringbuf.rst): a note has a head of eight bytes, the first four its length. */
void lb_offload_notes(struct lb_worker_context *ctx)
{
    struct lb_offload *offload = ctx->offload;
    const char *ring = (const char *)offload->ring_end + offload->page;
    unsigned long at = *offload->ring_read;
    while (at < __atomic_load_n(offload->ring_end, __ATOMIC_ACQUIRE)) {
        const char *place = ring + (at & (offload->ring_bytes - 1));
        uint32_t length = __atomic_load_n((const uint32_t *)(const void *)place, __ATOMIC_ACQUIRE);
        if (length & BPF_RINGBUF_BUSY_BIT)
            break;
        struct lb_slot_note note;
        memcpy(&note, place + BPF_RINGBUF_HDR_SZ, sizeof note);
        at += (BPF_RINGBUF_HDR_SZ + (length & ~(uint32_t)BPF_RINGBUF_DISCARD_BIT) + 7) / 8 * 8;
        __atomic_store_n(offload->ring_read, at, __ATOMIC_RELEASE);
        heard(ctx, &note);
    }
}

/* --- once a turn ------------------------------------------------------------------------------------------------------------ */

static int has_word(struct lb_worker_context *ctx, const struct lb_session *session, enum lb_side_name from)
{
    return lb_slot_is_behind(ctx, session, from) || lb_offload_is_broken(ctx, session);
}

/* Notes are lost where the ring was full; then `passed` tells, or `broken`. */
static void sweep(struct lb_worker_context *ctx)
{
    struct lb_offload *offload = ctx->offload;
    offload->swept_ms = lb_now_ms(ctx);
    for (uint32_t i = 0; i < offload->touched; i++) {
        struct lb_slot_state *slot = &offload->at[i];
        if (!slot->taken)
            continue;
        lb_offload_count(ctx, lb_slab_at(&ctx->sessions, slot->session));
        for (int side = LB_CLIENT; side <= LB_BACKEND && slot->taken; side++)
            if (has_word(ctx, lb_slab_at(&ctx->sessions, slot->session), (enum lb_side_name)side))
                wake(ctx, i, (enum lb_side_name)side);
    }
}

/* Those who wait are run when it is their time; they ask again, and wait longer, if it was too soon. */
static void poll_waiting(struct lb_worker_context *ctx)
{
    struct lb_offload *offload = ctx->offload;
    uint32_t index = offload->waiting;
    offload->waiting = LB_NO_SLOT;
    while (index != LB_NO_SLOT) {
        struct lb_slot_state *slot = &offload->at[index];
        uint32_t next = slot->next, patience_ms = slot->poll_ms;
        if (slot->taken && lb_now_ms(ctx) < slot->poll_at_ms) {
            slot->next = offload->waiting;
            offload->waiting = index;
        } else {
            uint32_t generation = slot->generation;
            slot->waits = 0;
            if (!slot->taken)
                lb_slot_give(offload, index);
            else {
                struct lb_session *session = lb_slab_at(&ctx->sessions, slot->session);
                session->side[LB_CLIENT].writable = session->side[LB_BACKEND].writable = 1;
                lb_session_wake(ctx, session);
            }
            if (slot->waits && slot->generation == generation) {
                slot->poll_ms = patience_ms < LAST_POLL_MS ? 2 * patience_ms : LAST_POLL_MS;
                slot->poll_at_ms = lb_now_ms(ctx) + slot->poll_ms;
            } else {
                slot->poll_ms = 0;
            }
        }
        index = next;
    }
}

void lb_offload_turn(struct lb_worker_context *ctx)
{
    struct lb_offload *offload = ctx->offload;
    if (offload->waiting != LB_NO_SLOT)
        poll_waiting(ctx);
    if (offload->used && lb_now_ms(ctx) - offload->swept_ms >= SWEEP_MS)
        sweep(ctx);
}

int lb_offload_wait(const struct lb_worker_context *ctx)
{
    const struct lb_offload *offload = ctx->offload;
    uint64_t now_ms = lb_now_ms(ctx), due_ms = offload->swept_ms + SWEEP_MS;
    if (!offload->used && offload->waiting == LB_NO_SLOT)
        return -1;
    for (uint32_t i = offload->waiting; i != LB_NO_SLOT; i = offload->at[i].next)
        if (offload->at[i].poll_at_ms < due_ms)
            due_ms = offload->at[i].poll_at_ms;
    return due_ms > now_ms ? (int)(due_ms - now_ms) : 0;
}
