/* Established sessions whose bytes the kernel forwards.
 *
 * Both sockets of a session are in a SOCKHASH, and a program (programs.c) hands what one receives to the other, to be sent. The worker
 * keeps them in its poller for what the program cannot do: ends, resets, and what does not fit into the peer's send buffer. That is
 * handed up, and goes through the relay by recv and send, until the relay has passed on all of it; then the kernel goes on. A session
 * stays attached to its end: what was handed up and not read yet would be lost with the slot. Sides that speak TLS are never attached. */
#ifndef LB_OFFLOAD_H
#define LB_OFFLOAD_H

#include <stddef.h>
#include <stdint.h>

#include "../session_state.h"

enum {
    LB_OFFLOAD_SLOTS = 16384, /* sessions at most that a worker's kernel forwards */
    LB_OFFLOAD_AFTER = 4,     /* reads that make a session worth it: what is over before costs less here */
    LB_OFFLOAD_SMALL = 16384, /* bytes that a session has brought at most when it becomes one of local.h */
    LB_OFFLOAD_REFUSED = 255, /* in a session's `reads`: it was tried, and could not be */
};

struct lb_offload;

/* Which sessions, bits. */
enum lb_offload_which {
    LB_OFFLOAD_ANY = 1,   /* their backends may be anywhere */
    LB_OFFLOAD_LOCAL = 2, /* of small messages, to backends of this host: local.h */
};

/* Load programs and maps: 0, or -errno; why: in words. Needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON; what follows needs nothing. */
__attribute__((warn_unused_result)) int lb_offload_open(struct lb_offload **offload, uint32_t slots, uint32_t which, char *why,
                                                        size_t room);
void lb_offload_close(struct lb_offload *offload);

/* What it forwards: enum lb_offload_which, bits. */
uint32_t lb_offload_forwards(const struct lb_offload *offload);

/* A descriptor that is readable when the program has a word for lb_offload_notes. */
int lb_offload_descriptor(const struct lb_offload *offload);

/* Attach a session, if it is fit for that. True: it is attached now, and must be run once more, for what came meanwhile. */
int lb_offload_take(struct lb_worker_context *ctx, struct lb_session *session);

/* An attached session ends: its last figures, before its sockets are closed. */
void lb_offload_leave(struct lb_worker_context *ctx, struct lb_session *session);

/* Where the bytes are that the kernel forwarded from a side. */
enum lb_synced {
    LB_SYNCED,   /* all in the peer's send queue; a backend of this host has read all */
    LB_UNSYNCED, /* on their way: neither bytes nor an end may be sent now; the session is run again in a moment */
    LB_LOST,     /* the peer is gone, and took none or not all of them */
};

__attribute__((warn_unused_result)) enum lb_synced lb_offload_synced(struct lb_worker_context *ctx, struct lb_session *session,
                                                                     enum lb_side_name from);

/* So many bytes that were handed up are in the peer's send queue: true, if there are more. */
int lb_offload_sent(struct lb_worker_context *ctx, const struct lb_session *session, enum lb_side_name from, size_t bytes);

/* A read found nothing, or the end: where is what was handed up? It may still wait behind what is to be sent to that side. */
__attribute__((warn_unused_result)) enum lb_synced lb_offload_handed_up(struct lb_worker_context *ctx,
                                                                        const struct lb_session *session, enum lb_side_name from);

/* Has the peer of a side gone with bytes that the kernel forwarded to it? */
int lb_offload_is_lost(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name from);

/* Take what the kernel forwarded into the session's figures, and when. */
void lb_offload_count(struct lb_worker_context *ctx, struct lb_session *session);

/* Did a direction lose bytes? Then the session cannot go on. */
int lb_offload_is_broken(const struct lb_worker_context *ctx, const struct lb_session *session);

/* Is anything under way here, in the kernel or handed up? */
int lb_offload_is_unsynced(struct lb_worker_context *ctx, struct lb_session *session);

/* What the program has said. */
void lb_offload_notes(struct lb_worker_context *ctx);

/* Once a turn: figures of all, once a second, and those who wait for the kernel. */
void lb_offload_turn(struct lb_worker_context *ctx);

/* Milliseconds until lb_offload_turn has something to do; -1: nothing. */
int lb_offload_wait(const struct lb_worker_context *ctx);

/* Does a trial of all of this with sockets of its own: 0, or -errno with why in words. */
__attribute__((warn_unused_result)) int lb_offload_selftest(char *why, size_t room);

/* Likewise of backends of this host. */
__attribute__((warn_unused_result)) int lb_local_selftest(char *why, size_t room);

#endif
