/* The slots of sessions that the kernel forwards, as user space knows them. Of csrc/l4/offload alone. */
#ifndef LB_SLOTS_H
#define LB_SLOTS_H

#include "local.h"
#include "offload.h"
#include "programs.h"

enum { LB_NO_SLOT = UINT32_MAX };

/* What user space knows of an attached session. Its lanes lie at 2 * slot + side. */
struct lb_slot_state {
    uint64_t cookie[2];
    uint64_t start[2];   /* what each side had queued to send when it was attached, since its beginning */
    uint64_t written[2]; /* bytes that came from each side and that user space wrote to the other since then */
    uint64_t counted[2]; /* of `forwarded`: in the figures */
    uint64_t synced[2];  /* of `forwarded`: known to be in the peer's send queue */
    uint64_t seen[2];    /* what a side's peer had acknowledged when it was asked last */
    uint32_t session;    /* index */
    uint32_t generation; /* raised with each tenant; in every note */
    uint32_t next;       /* in the list of free slots, or of those who wait */
    uint32_t poll_ms;    /* how long it waits until it is looked at again */
    uint64_t poll_at_ms;
    uint8_t taken;
    uint8_t attached[2]; /* the side's socket is in the map */
    uint8_t listens[2];  /* its poller tells of bytes */
    uint8_t waits;       /* in the list of those who wait */
    uint8_t local;       /* its backend is a process of this host: only its client is attached here, see local.h */
};

struct lb_offload {
    struct lb_offload_maps maps;
    struct lb_local local;
    int program;
    uint32_t which; /* enum lb_offload_which */
    uint32_t slots;
    uint32_t used;
    uint32_t free_first; /* the longest free is taken first: nobody still thinks of its last tenant */
    uint32_t free_last;
    uint32_t touched;
    uint32_t waiting;
    uint64_t swept_ms;
    struct lb_slot_state *at;
    struct lb_slot_lane *lanes;
    unsigned long *ring_read; /* the page of the ring that we write */
    unsigned long *ring_end;  /* the kernel's, and the notes behind it */
    size_t page;
    size_t ring_bytes;
};

/* --- slots.c --- */
uint32_t lb_slot_take(struct lb_offload *offload); /* LB_NO_SLOT: none is free */
void lb_slot_give(struct lb_offload *offload, uint32_t index);

/* --- sync.c --- */
/* Is the poller to tell of bytes? What comes to user space is told by a note, so they need not wake anybody. */
int lb_slot_watch(struct lb_worker_context *ctx, const struct lb_session *session, enum lb_side_name side, int bytes);
/* Was anything handed up that has not been passed on? */
int lb_slot_is_behind(const struct lb_worker_context *ctx, const struct lb_session *session, enum lb_side_name from);

static inline struct lb_slot_state *lb_slot_of(const struct lb_worker_context *ctx, const struct lb_session *session)
{
    return &ctx->offload->at[session->offload - 1];
}

static inline struct lb_slot_lane *lb_lane_of(const struct lb_worker_context *ctx, const struct lb_session *session,
                                              enum lb_side_name from)
{
    return &ctx->offload->lanes[2 * (session->offload - 1) + from];
}

static inline uint64_t lb_lane_read(const uint64_t *figure)
{
    return __atomic_load_n(figure, __ATOMIC_ACQUIRE);
}

#endif
