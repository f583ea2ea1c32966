/* One direction: bytes from a source to a destination, in steps. Sessions and the bodies of exchanges are carried by it.
 *
 * Copy: one read into memory of the worker's, one write from it; what the destination refuses is held (sendq.h), and the source is not
 * read meanwhile. Splice: source to pipe to destination, without a byte in user space. Dearer for a small message, cheaper for a stream:
 * auto changes to splice when reads keep filling what they read into. Nothing is held between messages. */
#ifndef LB_LANE_H
#define LB_LANE_H

#include "sendq.h"

enum { LB_STREAMING = 2 };

struct lb_lane {
    struct lb_worker_context *ctx;
    struct lb_side *from;
    struct lb_side *to;
    struct lb_flow *flow; /* what `to` did not take */
    uint8_t *streak;      /* reads in a row that filled what they read into; LB_STREAMING: splice */
};

/* What a step came to. */
enum lb_step {
    LB_STEP_MOVED,
    LB_STEP_BLOCKED, /* nothing to read now, or no room to write */
    LB_STEP_STARVED, /* a buffer is needed and none is free */
    LB_STEP_LATER,   /* enough was read in this turn */
    LB_STEP_END,     /* FIN */
    LB_STEP_FROM_FAILED,
    LB_STEP_TO_FAILED,
    LB_STEP_BAD,       /* of bodies: the chunks break the rules */
    LB_STEP_TOO_LARGE, /* of bodies */
};

/* Does the datapath splice what comes now? Never where a side speaks TLS, nor what the ring has received. */
static inline int lb_lane_wants_splice(const struct lb_lane *lane)
{
    if (lane->from->tls || lane->to->tls || lb_has_read_ahead(lane->from->fd))
        return 0;
    switch ((enum lb_datapath)lane->ctx->datapath) {
    case LB_COPY:
        return 0;
    case LB_SPLICE:
        return 1;
    case LB_AUTO:
    case LB_OFFLOAD: /* until the kernel has it; of exchanges it sees none, as their ends are not those of connections */
        return *lane->streak >= LB_STREAMING || lane->flow->holds == LB_HOLDS_PIPE;
    }
    return 0;
}

/* What a read that brought no bytes came to: 0 for FIN, else errno speaks. */
enum lb_step lb_lane_silent(struct lb_lane *lane, ssize_t got);

/* Read once into memory; *got bytes, if it moved. */
__attribute__((warn_unused_result)) static inline enum lb_step lb_lane_read(struct lb_lane *lane, char *bytes, size_t room,
                                                                            size_t *got)
{
    ssize_t count = lb_side_recv(lane->from, bytes, room);
    if (count <= 0)
        return lb_lane_silent(lane, count);
    *got = (size_t)count;
    if (*got < room)
        *lane->streak = 0;
    else if (*lane->streak < LB_STREAMING)
        ++*lane->streak;
    lb_side_got(lane->from, *got, room); /* emptied: what comes next raises an edge */
    return LB_STEP_MOVED;
}

/* Read once into the pipe that is held, which is empty: so EAGAIN speaks of the socket. A short splice says nothing: read on. */
__attribute__((warn_unused_result)) enum lb_step lb_lane_splice(struct lb_lane *lane, size_t most, size_t *got);

/* A send of bytes took so many of them, or failed: the rest is held. */
enum lb_step lb_lane_hold(struct lb_lane *lane, const char *bytes, size_t count, ssize_t took);

/* Send to the destination, and hold what it does not take: moved, or blocked with the rest held, or failed. A buffer must be free. */
__attribute__((warn_unused_result)) static inline enum lb_step lb_lane_send(struct lb_lane *lane, const char *bytes, size_t count)
{
    ssize_t took = lb_side_send(lane->to, bytes, count);
    return took == (ssize_t)count ? LB_STEP_MOVED : lb_lane_hold(lane, bytes, count, took);
}

/* Send on what is held. */
__attribute__((warn_unused_result)) enum lb_step lb_lane_flush(struct lb_lane *lane);

/* A part of a response came from a backend: acknowledge it at once, if that helps (ack.h). first: it is the response's first. acked: enum
 * lb_ack, what was done about the part before, and now about this one. pause_ms: since that one. */
void lb_lane_acknowledge(struct lb_worker_context *ctx, const struct lb_side *backend, struct lb_backend_health *health,
                         size_t bytes, int first, uint8_t *acked, uint32_t pause_ms);

#endif
