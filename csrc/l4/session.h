/* A session: one client connection, its backend connection, and the two directions between them. */
#ifndef LB_SESSION_H
#define LB_SESSION_H

#include <stdint.h>

#include "../core/net.h"
#include "../core/timer.h"
#include "../table/policy.h"
#include "peers.h"
#include "side.h"

enum lb_session_state {
    LB_SESSION_FREE = 0,
    LB_SESSION_CONNECTING = 1, /* a backend is being reached; nothing was read from the client yet */
    LB_SESSION_OPEN = 2,       /* both directions flow */
    LB_SESSION_HALF = 3,       /* one direction is over */
};

enum lb_hold { LB_HOLDS_NOTHING = 0, LB_HOLDS_BUFFER = 1, LB_HOLDS_PIPE = 2, LB_HOLDS_LARGE = 3 };

/* Only forward: OPEN, ENDING once the source has ended, then CLOSED; BROKEN from anywhere. */
enum lb_flow_end {
    LB_FLOW_OPEN = 0,
    LB_FLOW_ENDING = 1,  /* the source sent FIN: deliver what is held, then FIN */
    LB_FLOW_FAILING = 2, /* the source failed: deliver what is held, then reset */
    LB_FLOW_CLOSED = 3,  /* all delivered, FIN sent */
    LB_FLOW_BROKEN = 4,  /* a side failed: nothing more moves */
};

/* One direction. flow[LB_CLIENT] runs from the client, flow[LB_BACKEND] from the backend. */
struct lb_flow {
    uint32_t held;    /* buffer or pipe */
    uint32_t start;   /* first byte in the buffer */
    uint32_t pending; /* bytes held */
    uint8_t holds;    /* enum lb_hold */
    uint8_t end;      /* enum lb_flow_end */
    uint8_t streak;   /* reads in a row that filled the buffer; LB_STREAMING: splice */
    uint8_t pad;
};

/* Three cache lines: an event touches the first two, the third is for accounts and the end. What only a session that connects needs
 * lies where one that is open has its flows. */
struct lb_session {
    struct lb_timer timer; /* first: a timer is its session */
    struct lb_side side[2];
    uint32_t generation; /* in every event: those of an earlier tenant are dropped */
    uint32_t backend; /* row; counted in active[] while the session is not free */
    union {
        struct { /* CONNECTING */
            uint32_t tried[LB_MAX_TRIED];
            uint64_t key; /* hash of the client's address, for maglev */
            uint32_t proxy_info; /* what a PROXY header said of the client (l4/proxy_info.h), for another one; 0: nothing */
            uint32_t connect_us; /* monotonic, low 32 bits: when the connect under way began */
            uint8_t shortages; /* of tried[]: that this host lacked something for */
        };
        struct { /* OPEN, HALF */
            struct lb_flow flow[2];
            uint64_t bytes[2]; /* that came from each side */
            uint32_t moved_ms; /* monotonic, low 32 bits: when a byte last moved */
            uint32_t first_us; /* since it was opened: when the backend's first byte came; LB_NEVER_US: not yet */
        };
    };
    uint8_t state; /* enum lb_session_state */
    uint8_t asked; /* the client sent something since the backend's last bytes */
    uint8_t acked; /* enum lb_ack: whether the last part of a response was acknowledged at once */
    uint8_t first_over; /* the side that finished first: 1 + enum lb_side_name; 0: neither yet */
    uint8_t queued; /* it is in the list of sessions to run again ... */
    uint8_t tried_count;
    uint16_t cost; /* what it is charged with */
    uint64_t began_us; /* monotonic: when it was opened */
    uint32_t accept_us; /* how long it took from its accept to here */
    uint32_t reached_us; /* since it was opened: when its backend was reached; LB_NEVER_US: it was not yet */
    uint32_t decision; /* the pick of its backend, for table/why.h */
    uint32_t counted; /* where it is counted as its address's (table/clients.h); 0: nowhere */
    uint32_t next; /* ... linked by this */
    uint32_t offload; /* 1 + its seat, while the kernel forwards what it can (offload/offload.h); 0: none */
    uint16_t listener;
    uint16_t pool;
    uint16_t client_port;
    uint8_t client[16]; /* IPv4 mapped into IPv6 */
    uint8_t kept; /* TCP keep-alive towards the backend is on, or not wanted */
    uint8_t reads; /* that brought bytes, up to what the offload asks (offload/offload.h) */
    struct lb_peers peers; /* what is known of their acknowledgements */
};

struct lb_worker_context;

/* A client that is ready to be served. */
struct lb_accepted {
    int fd;
    int watched; /* by the poller, under another tag */
    uint32_t listener; /* row */
    uint32_t pool; /* row, or LB_NO_POOL: nobody serves it. Of a client of mode http it says nothing */
    uint32_t accepted_us; /* monotonic, low 32 bits */
    struct lb_tls *tls; /* its handshake is over; NULL: it speaks none */
    struct lb_ends ends;
};

/* Take over a client; the caller has seen that there is room. */
void lb_session_open(struct lb_worker_context *ctx, const struct lb_accepted *accepted);

/* Two connections that something else established, watched by the poller already, and what it read of them. */
struct lb_tunnel {
    struct lb_side client; /* descriptor and TLS count */
    struct lb_side server;
    uint32_t backend; /* charged with it */
    uint32_t cost; /* so much */
    uint32_t decision;
    uint32_t pool;
    uint32_t listener;
    uint32_t counted; /* as in struct lb_ends */
    uint16_t port;
    uint8_t ip[16]; /* of the client; IPv4 mapped into IPv6 */
    const char *from_client;
    uint32_t from_client_count; /* at most LB_BUFFER_BYTES */
    const char *from_server;
    uint32_t from_server_count;
};

/* Go on as a session, which counts as accepted already: 0, or -ENOBUFS with nothing taken. */
__attribute__((warn_unused_result)) int lb_session_tunnel(struct lb_worker_context *ctx, const struct lb_tunnel *child);

/* An epoll event for one side. */
void lb_session_event(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name side, uint32_t events);

/* Go on with a session that stopped at its share of a turn or waited for a buffer. */
void lb_session_resume(struct lb_worker_context *ctx, struct lb_session *session);

/* Go on with a session for which the offload has word. */
void lb_session_wake(struct lb_worker_context *ctx, struct lb_session *session);

/* Its timer fired. */
void lb_session_timeout(struct lb_worker_context *ctx, struct lb_session *session);

/* End the sessions on removed backends. */
void lb_session_cut(struct lb_worker_context *ctx);

/* End all. */
void lb_session_stop_all(struct lb_worker_context *ctx);

#endif
