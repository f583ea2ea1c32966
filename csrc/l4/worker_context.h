/* What a worker's sessions share: the table, the poller, the clock, and the pools they borrow from. One thread's own. */
#ifndef LB_WORKER_CONTEXT_H
#define LB_WORKER_CONTEXT_H

#include "../core/channel.h"
#include "../core/buffer_pool.h"
#include "../core/loop.h"
#include "../core/pipe_pool.h"
#include "../core/slab.h"
#include "../core/timer.h"
#include "../table/ending.h"
#include "../table/shm.h"
#include "../table/view.h"
#include "../tls/rules.h"
#include "event_tag.h"
#include "proxy_info.h"
#include "refusal.h"
#include "trust.h"

enum { LB_SCRATCH_BYTES = LB_BUFFER_BYTES, LB_ALERTS = 64 };

/* What this host lacked last, until the control plane was told of it. */
struct lb_shortage {
    int error;        /* 0: nothing to tell */
    uint32_t backend; /* that was to be reached; UINT32_MAX: none, a client was to be accepted */
    uint64_t told_ms; /* monotonic */
};

/* A backend that keeps failing. */
struct lb_alert {
    uint32_t backend;
    uint32_t what; /* enum lb_failing */
};

struct lb_worker_context {
    struct lb_shm shm;
    struct lb_worker_row *row; /* this worker's counters */
    struct lb_cursor *cursors; /* by pool */
    uint32_t worker;
    uint32_t datapath; /* enum lb_datapath */
    struct lb_loop loop;
    const char *loopback_control; /* core/congestion.h; NULL: none */
    uint64_t now_us;              /* read once a turn */
    struct lb_wheel wheel;
    struct lb_slab sessions;
    struct lb_slab proxy_info; /* what PROXY headers said of clients that are there still */
    struct lb_buffer_pool buffers;
    struct lb_buffer_pool large; /* LB_LARGE_BYTES each: heads that fit into no other */
    struct lb_pipe_pool pipes;
    uint32_t ready;                   /* sessions to run again next turn, linked by next */
    uint32_t starved;                 /* sessions that wait for a buffer, linked by next */
    struct lb_alert alert[LB_ALERTS]; /* whose failures in a row reached the pool's bound in this turn */
    uint32_t alerts;
    struct lb_refusals refusals; /* clients to be told of at the end of this turn */
    struct lb_shortage shortage;
    uint8_t trial_failed; /* the connect that failed last was a trial (table/avoid.h) */
    uint32_t prereads;    /* connections that wait for their first words or for TLS */
    struct lb_tls_rules tls;
    struct lb_offload *offload; /* NULL: the kernel forwards nothing */
    char *scratch;              /* LB_SCRATCH_BYTES: where a copied message lives between its read and its write */
};

static inline uint64_t lb_now_ms(const struct lb_worker_context *ctx)
{
    return ctx->now_us / 1000;
}

/* How much of a limit is left that began at from_ms (monotonic, low 32 bits). */
static inline uint32_t lb_left_ms(const struct lb_worker_context *ctx, uint32_t from_ms, uint32_t limit_ms)
{
    uint32_t passed_ms = (uint32_t)lb_now_ms(ctx) - from_ms;
    passed_ms -= passed_ms > 0; /* both times are rounded down: no limit ends early */
    return limit_ms > passed_ms ? limit_ms - passed_ms : 0;
}

/* The low 32 bits of now, for fields of which 0 says never. */
static inline uint32_t lb_stamp_ms(const struct lb_worker_context *ctx)
{
    uint32_t now_ms = (uint32_t)lb_now_ms(ctx);
    return now_ms ? now_ms : UINT32_MAX;
}

/* A client that got no session counts as accepted and refused in one. */
static inline void lb_count_refused(struct lb_worker_context *ctx, enum lb_end why)
{
    lb_add(&ctx->row->accepted, 1);
    lb_ending_count(ctx->row, why);
}

/* The control plane is to hear of a shortage: core/shortage.h. */
static inline void lb_tell_shortage(struct lb_worker_context *ctx, uint32_t backend, int error)
{
    ctx->shortage.error = error;
    ctx->shortage.backend = backend;
}

#endif
