/* Connections to backends that exchanges take turns on: kept open between them, the newest used first, closed before the backend
 * would. One that begins with a client's PROXY header is for that client's exchanges only. One worker's own.
 *
 * How long an idle one is kept: two seconds less than the backend says it would (Keep-Alive: timeout) or was seen to, at least
 * half of that; the pool's `backend_idle_timeout` when neither is known. Beyond `max_idle_connections` to one backend they stay for a second at most: the
 * newest are used first, so that what a steady load needs is never that old. All together are never more than the slab holds.
 * A request that meets the backend's FIN on the wire is lost, and only idempotent ones may be sent again (RFC 9110 9.2.2). */
#ifndef LB_CONN_POOL_H
#define LB_CONN_POOL_H

#include "../l4/plane.h"

enum lb_conn_state { LB_CONN_FREE = 0, LB_CONN_BUSY = 1, LB_CONN_IDLE = 2 };

struct lb_conn {
    struct lb_timer timer; /* first: a timer is its connection. Looked at when it fires; idle_ms says the truth */
    struct lb_side side;
    uint32_t generation; /* in every event */
    uint32_t backend;    /* row ... */
    uint32_t owner;      /* client whose exchange it carries */
    uint64_t row_generation; /* ... and its tenant */
    uint32_t idle_ms;    /* monotonic, low 32 bits: since when it is idle */
    uint32_t exchanges;  /* that it has carried */
    struct lb_conn_stack *among; /* where it waits when it is idle: its backend's, or its client's own */
    uint32_t newer;      /* there */
    uint32_t older;
    uint32_t younger; /* among all idle ones */
    uint32_t elder;
    uint8_t state; /* enum lb_conn_state */
    uint8_t header; /* version of the PROXY header that it begins with: one client's alone; 0: none, and anybody's */
    uint8_t was_reset; /* a write has heard of a reset before any FIN: the read that follows sees a mere end */
    uint8_t pad[5];
};

/* Idle ones: those of a backend that anybody may use, or a client's own, whose header they began with. */
struct lb_conn_stack {
    uint32_t newest;
    uint32_t count;
};

struct lb_conn_pool {
    struct lb_plane *plane;
    struct lb_slab slab;
    struct lb_wheel wheel;
    struct lb_conn_stack *stacks; /* by backend row */
    uint32_t youngest; /* of all idle ones */
    uint32_t eldest;
};

__attribute__((warn_unused_result)) int lb_conn_pool_open(struct lb_conn_pool *pool, struct lb_plane *plane,
                                                          uint32_t capacity);
void lb_conn_pool_close(struct lb_conn_pool *pool);

static inline struct lb_conn *lb_conn_at(const struct lb_conn_pool *pool, uint32_t conn)
{
    return lb_slab_at(&pool->slab, conn);
}

/* The newest idle connection to this backend among these, busy now, or NULL. fresher_ms: only one that has been idle for less; 0:
 * any. */
struct lb_conn *lb_conn_take(struct lb_conn_pool *pool, const struct lb_conn_stack *among, uint32_t backend,
                             uint32_t fresher_ms);

/* Begin to connect: 0 with *conn busy, or a positive errno. Evicts the eldest idle one when there is no room. */
__attribute__((warn_unused_result)) int lb_conn_connect(struct lb_conn_pool *pool, uint32_t backend, uint32_t row,
                                                        struct lb_conn **conn);

/* Its exchange is over and it goes on. backend_pool: pool row, for its limits. */
void lb_conn_keep(struct lb_conn_pool *pool, struct lb_conn *conn, uint32_t backend_pool);

/* It begins with a PROXY header of this version: the client's own, whose idle ones these are. */
void lb_conn_bind(struct lb_conn *conn, struct lb_conn_stack *own, uint32_t version);

/* Close all of a client's own that are idle. */
void lb_conn_drop_own(struct lb_conn_pool *pool, const struct lb_conn_stack *own);

/* Close it, whatever it does. */
void lb_conn_drop(struct lb_conn_pool *pool, struct lb_conn *conn);

/* Forget it without closing: its descriptor is somebody else's now. */
void lb_conn_forget(struct lb_conn_pool *pool, struct lb_conn *conn);

/* An event on an idle one: the backend has closed it, or speaks out of turn. */
void lb_conn_idle_event(struct lb_conn_pool *pool, struct lb_conn *conn);

/* Close the idle ones to backends that are gone; all: every idle one. */
void lb_conn_cut(struct lb_conn_pool *pool, int all);

void lb_conn_fire(void *pool, struct lb_timer *timer);

/* How long an idle connection to a backend is kept, milliseconds. */
uint32_t lb_conn_limit_ms(const struct lb_conn_pool *pool, uint32_t backend);

#endif
