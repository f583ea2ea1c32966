/* Connections to backends that exchanges take turns on: kept open between them, the newest used first, closed before the backend
 * would. One that begins with a client's PROXY header, or on which a client has logged in (login.h), is for that client's exchanges
 * only. One worker's own.
 *
 * How long an idle one is kept: two seconds less than the backend says it would (Keep-Alive: timeout) or was seen to, at least
 * half of that; the pool's `backend_idle_timeout` when neither is known. Beyond `max_idle_connections` to one backend they stay for a second at most: the
 * newest are used first, so that what a steady load needs is never that old. All together are never more than the slab holds.
 * A request that meets the backend's FIN on the wire is lost, and only idempotent ones may be sent again (RFC 9110 9.2.2). Any other
 * request takes a connection that was idle for at most half as long as the backend keeps one. While that is not known, half as long as
 * one was seen to stay open counts instead: nothing else foretells a backend's first close.
 *
 * What a backend sends while nothing was asked of it (unsolicited) belongs to nobody: the connection ends, and for a while no connection
 * to that backend carries a second exchange.
 *
 * A connection that is not kept ends without leaving a port of this host in TIME_WAIT: after its last response the backend's FIN is
 * waited for (PARTING) if the backend knows that it was the last, else it is reset. */
#ifndef LB_CONN_POOL_H
#define LB_CONN_POOL_H

#include "../l4/worker_context.h"

enum lb_conn_state { LB_CONN_FREE = 0, LB_CONN_BUSY = 1, LB_CONN_IDLE = 2, LB_CONN_PARTING = 3 };

/* What becomes of a connection when its exchange leaves it. */
enum lb_conn_end {
    LB_CONN_CUT,  /* the exchange did not come to its end: close it */
    LB_CONN_PART, /* its last response is whole */
    LB_CONN_KEEP,
};

/* For whom is a connection taken? */
enum lb_conn_use {
    LB_USE_REPEATABLE, /* a request that may be sent again */
    LB_USE_ONCE,       /* one that may not: only a connection that was used a moment ago, and not for a failure */
    LB_USE_LOGIN,      /* the client that has logged in on it */
};

struct lb_conn {
    struct lb_timer timer; /* first: a timer is its connection. Looked at when it fires; idle_ms says the truth */
    struct lb_side side;
    uint32_t generation;         /* in every event */
    uint32_t backend;            /* row ... */
    uint32_t owner;              /* the exchange that it carries */
    uint64_t row_generation;     /* ... and its tenant */
    uint32_t idle_ms;            /* monotonic, low 32 bits: since when it is idle */
    uint32_t exchanges;          /* that it has carried */
    struct lb_conn_stack *among; /* where it waits when it is idle: its backend's, its client's own, or those that part */
    uint32_t newer;              /* there */
    uint32_t older;
    uint32_t younger; /* among all idle ones */
    uint32_t elder;
    uint8_t state;     /* enum lb_conn_state */
    uint8_t header;    /* version of the PROXY header that it begins with: one client's alone; 0: none, and anybody's */
    uint8_t was_reset; /* a write has heard of a reset before any FIN: the read that follows sees a mere end */
    uint8_t login;     /* its client has logged in, or is about to: one client's alone, likewise */
    uint8_t shaken;    /* its last response was a 5xx: the backend may close it without a word */
    uint8_t told;      /* the backend knows that no exchange follows: it closes first */
    uint8_t pad[2];
    uint32_t kept_turn; /* turn of the loop in which it was kept: what has come since may not have been told yet */
    uint32_t pad1;
};

/* Is it for one client's exchanges only? */
static inline int lb_conn_is_own(const struct lb_conn *conn)
{
    return conn->header || conn->login;
}

/* Idle ones: those of a backend that anybody may use, or a client's own, whose header they began with. */
struct lb_conn_stack {
    uint32_t newest;
    uint32_t oldest;
    uint32_t count;
};

#define LB_CONN_STACK_EMPTY {LB_SLAB_NONE, LB_SLAB_NONE, 0}

struct lb_conn_pool {
    struct lb_worker_context *ctx;
    struct lb_slab slab;
    struct lb_wheel wheel;
    struct lb_conn_stack *stacks; /* by backend row */
    struct lb_conn_stack parting; /* whose last response is whole, and whose backend is to close first */
    uint32_t youngest;            /* of all idle ones */
    uint32_t eldest;
};

__attribute__((warn_unused_result)) int lb_conn_pool_open(struct lb_conn_pool *pool, struct lb_worker_context *ctx,
                                                          uint32_t capacity);
void lb_conn_pool_close(struct lb_conn_pool *pool);

static inline struct lb_conn *lb_conn_at(const struct lb_conn_pool *pool, uint32_t conn)
{
    return lb_slab_at(&pool->slab, conn);
}

/* The newest idle connection to this backend among these, busy now, or NULL. Nothing was there to be read from it. */
struct lb_conn *lb_conn_take(struct lb_conn_pool *pool, const struct lb_conn_stack *among, uint32_t backend,
                             enum lb_conn_use use);

/* The newest of a client's own on which it has logged in, to a backend of this pool that still serves; NULL: none. It stays idle. */
const struct lb_conn *lb_conn_login(const struct lb_conn_pool *pool, const struct lb_conn_stack *own, uint32_t row);

/* Begin to connect: 0 with *conn busy, or a positive errno. Evicts the eldest idle one when there is no room. */
__attribute__((warn_unused_result)) int lb_conn_connect(struct lb_conn_pool *pool, uint32_t backend, uint32_t row,
                                                        struct lb_conn **conn);

/* Its exchange is over and it goes on, if the limits of its pool allow it. */
void lb_conn_keep(struct lb_conn_pool *pool, struct lb_conn *conn);

/* Have bytes come on this one before a request was sent? Then what looks like a response is none. Of TLS they are lost. */
int lb_conn_spoke_first(struct lb_conn_pool *pool, struct lb_conn *conn);

/* Its last response is whole: end it without TIME_WAIT. */
void lb_conn_part(struct lb_conn_pool *pool, struct lb_conn *conn);

/* Would no connection to this backend be kept after its exchange? */
int lb_conn_keeps_none(const struct lb_conn_pool *pool, uint32_t backend);

/* It begins with a PROXY header of this version: the client's own, whose idle ones these are. */
void lb_conn_bind(struct lb_conn *conn, struct lb_conn_stack *own, uint32_t version);

/* The client whose idle ones these are logs in on it. */
void lb_conn_log_in(struct lb_conn *conn, struct lb_conn_stack *own);

/* Close all of a client's own that are idle. */
void lb_conn_drop_own(struct lb_conn_pool *pool, const struct lb_conn_stack *own);

/* Close it, whatever it does. */
void lb_conn_drop(struct lb_conn_pool *pool, struct lb_conn *conn);

/* Forget it without closing: its descriptor is somebody else's now. */
void lb_conn_forget(struct lb_conn_pool *pool, struct lb_conn *conn);

/* Something is to be read from one that carries no exchange: the backend has closed it, or speaks out of turn. */
void lb_conn_idle_event(struct lb_conn_pool *pool, struct lb_conn *conn);

/* The backend has sent bytes that nothing was asked for: for a while no connection to it carries a second exchange. */
void lb_conn_distrust(struct lb_conn_pool *pool, uint32_t backend);
int lb_conn_is_distrusted(const struct lb_conn_pool *pool, uint32_t backend);

/* Close the idle ones to backends that are gone; all: every idle one. */
void lb_conn_cut(struct lb_conn_pool *pool, int all);

void lb_conn_fire(void *pool, struct lb_timer *timer);

#endif
