/* A session: one client connection, its backend connection, and the two directions between them. The state that it is in, and the timer
 * that goes with that. */
#ifndef LB_SESSION_STATE_H
#define LB_SESSION_STATE_H

#include "../table/wish.h"
#include "flow.h"
#include "peers.h"
#include "worker_context.h"

enum lb_session_state {
    LB_SESSION_FREE = 0,
    LB_SESSION_CONNECTING = 1, /* a backend is being reached; nothing was read from the client yet */
    LB_SESSION_OPEN = 2,       /* both directions flow */
    LB_SESSION_HALF = 3,       /* one direction is over */
};

/* Three cache lines: an event touches the first two, the third is for accounts and the end. What only a session that connects needs
 * lies where one that is open has its flows. */
struct lb_session {
    struct lb_timer timer; /* first: a timer is its session */
    struct lb_side side[2];
    uint32_t generation; /* in every event: those of an earlier tenant are dropped */
    uint32_t backend;    /* row; counted in active[] while the session is not free */
    union {
        struct { /* CONNECTING */
            uint32_t tried[LB_MAX_TRIED];
            uint64_t key;        /* hash of the client's address, for maglev */
            uint32_t proxy_info; /* what a PROXY header said of the client (l4/proxy_info.h), for another one; 0: nothing */
            uint32_t connect_us; /* monotonic, low 32 bits: when the connect under way began */
            uint8_t shortages;   /* of tried[]: that this host lacked something for */
        };
        struct { /* OPEN, HALF */
            struct lb_flow flow[2];
            uint64_t bytes[2]; /* that came from each side */
            uint32_t moved_ms; /* monotonic, low 32 bits: when a byte last moved */
            uint32_t first_us; /* since it was opened: when the backend's first byte came; LB_NEVER_US: not yet */
        };
    };
    uint8_t state;      /* enum lb_session_state */
    uint8_t asked;      /* the client sent something since the backend's last bytes */
    uint8_t acked;      /* enum lb_ack: whether the last part of a response was acknowledged at once */
    uint8_t first_over; /* the side that finished first: 1 + enum lb_side_name; 0: neither yet */
    uint8_t queued;     /* it is in the list of sessions to run again ... */
    uint8_t tried_count;
    uint16_t cost;       /* what it is charged with */
    uint64_t began_us;   /* monotonic: when it was opened */
    uint32_t accept_us;  /* how long it took from its accept to here */
    uint32_t reached_us; /* since it was opened: when its backend was reached; LB_NEVER_US: it was not yet */
    uint32_t decision;   /* the pick of its backend, for table/why.h */
    uint32_t counted;    /* where it is counted as its address's (table/clients.h); 0: nowhere */
    uint32_t next;       /* ... linked by this */
    uint32_t offload;    /* 1 + its slot, while the kernel forwards what it can (offload/offload.h); 0: none */
    uint16_t listener;
    uint16_t pool;
    uint16_t client_port;
    uint8_t client[16];    /* IPv4 mapped into IPv6 */
    uint8_t kept;          /* TCP keep-alive towards the backend is on, or not wanted */
    uint8_t reads;         /* that brought bytes, up to what the offload asks (offload/offload.h) */
    struct lb_peers peers; /* what is known of their acknowledgements */
};

static inline uint32_t lb_session_index(const struct lb_worker_context *ctx, const struct lb_session *session)
{
    return lb_slab_index(&ctx->sessions, session);
}

/* The one place where a session's state changes; its timer follows. */
void lb_session_move(struct lb_worker_context *ctx, struct lb_session *session, enum lb_session_state to);

/* Its backend is reached, or was from the start: what connecting needed makes room. */
void lb_session_begin_to_flow(struct lb_worker_context *ctx, struct lb_session *session);

/* Have the loop serve a side for its whole life: 0, or -errno. */
__attribute__((warn_unused_result)) int lb_session_watch(struct lb_worker_context *ctx, struct lb_session *session,
                                                         enum lb_side_name side, enum lb_attaching how);

/* How long its state may last while nothing moves. */
uint64_t lb_session_limit_ms(const struct lb_worker_context *ctx, const struct lb_session *session);

/* It has lasted: its backend's socket asks now and then whether the backend is there still. */
void lb_session_keep_alive(struct lb_worker_context *ctx, struct lb_session *session);

/* What l4/peers.h wants to know of it. */
struct lb_look lb_session_look(const struct lb_worker_context *ctx, struct lb_session *session);

#endif
