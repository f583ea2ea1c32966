/* What a worker's HTTP clients share. One thread's own. */
#ifndef LB_L7_H
#define LB_L7_H

#include "../core/date.h"
#include "../h2/hpack_memory.h"
#include "../l4/worker_context.h"
#include "exchange.h"
#include "gather.h"
#include "heads.h"
#include "message.h"
#include "route.h"

struct lb_l7;

enum { LB_OUT_BYTES = LB_LARGE_BYTES, LB_LOCATION_BYTES = 8192 };

/* Requests of one priority, first come, first served. */
struct lb_http_lane {
    uint32_t first;
    uint32_t last;
    uint32_t count;
};

/* Requests that wait for a backend of a pool (queue.h). */
struct lb_http_queue {
    struct lb_http_lane lane[2]; /* of normal priority, of high */
    uint32_t count;              /* in both */
    uint32_t bound;              /* of these: wait for a certain backend, and for no other */
};

/* Those of HTTP/2 (h2/client.h), and what is to be done with them in this turn. */
struct lb_h2_clients {
    struct lb_slab clients;
    struct lb_slab streams;
    struct lb_wheel wheel; /* of clients without streams */
    uint32_t touched;      /* clients to look at: there is something to read, or to send; linked by next */
    uint32_t ready;        /* streams to run, the first, ... */
    uint32_t last;         /* ... and the last: they take turns */
    uint32_t starved;      /* streams that wait for a buffer */
    uint64_t urge_ms;      /* when those that drain are not waited for any longer; 0: they are */
};

/* Connections to backends that carry many exchanges at once (h2/servers.h). */
struct lb_h2_servers {
    struct lb_slab slab;
    struct lb_slab calls;
    struct lb_wheel wheel;
    const struct lb_stream_ops *ops;
    uint32_t *of_backend; /* by row: the eldest of its connections */
    uint32_t touched;     /* connections to look at, linked by next */
    uint32_t later;       /* those to look at in the next turn, likewise */
    uint32_t ready;       /* calls whose exchanges are to be run, the first, ... */
    uint32_t last;        /* ... and the last */
    struct lb_gather gather;
};

/* How an exchange comes to a connection that carries several. */
struct lb_multiplexer {
    int (*join)(struct lb_l7 *l7, struct lb_exchange *exchange);    /* one that is open has room: it is the exchange's, too */
    int (*connect)(struct lb_l7 *l7, struct lb_exchange *exchange); /* begin, or wait with others: 0, or a positive errno */
    /* This socket to the exchange's backend turned out to carry several: it is owned from now on, and closed where there is no place. */
    int (*adopt)(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_side *side);
};

enum { LB_HEDGE_WHOLE = 100, LB_HEDGE_MOST = 10 * LB_HEDGE_WHOLE }; /* of credit: one hedge, and all that is saved up */

/* Of the requests of a pool that are late. */
struct lb_hedges {
    uint32_t after_ms;  /* when one is, as the pool's response times say; UINT32_MAX: not known */
    uint32_t looked_ms; /* monotonic, low 32 bits: when that was looked up; 0: never */
    uint32_t credit;    /* in hundredths of a request that may be sent twice */
};

struct lb_l7 {
    struct lb_worker_context *ctx;
    struct lb_slab clients;   /* of what their codec has: struct lb_h1 */
    struct lb_slab exchanges; /* one a client of HTTP/1 and one a stream at most: never short */
    struct lb_slab texts;     /* of struct lb_text: likewise */
    struct lb_slab readings;  /* of struct lb_json_body, one an exchange at most: never short */
    struct lb_slab twins;     /* exchanges of our own (twin.h) */
    struct lb_slab logs;      /* of struct lb_request_log, one an exchange at most: likewise */
    struct lb_slab callers;   /* of struct lb_caller: likewise */
    struct lb_slab ways;      /* of struct lb_way: likewise */
    struct lb_h2_clients h2;
    struct lb_h2_servers servers;
    struct lb_wheel wheel; /* of clients between exchanges */
    struct lb_wheel exchange_wheel;
    struct lb_conn_pool conns;
    struct lb_heads heads;
    struct lb_hpack_memory hpack; /* of the tables of HTTP/2 connections */
    struct lb_routes *routes;
    uint32_t routes_version;
    uint32_t ready;                   /* clients to run again next turn, linked by next */
    uint32_t twins_ready;             /* twins to run, likewise */
    uint32_t starved;                 /* clients that wait for a buffer, likewise */
    struct lb_http_queue *queues;     /* by pool */
    struct lb_hedges *hedging;        /* by pool */
    struct lb_auth_cache *auth_cache; /* NULL: nothing was granted for a while yet */
    uint32_t waiting;                 /* in all of them */
    uint32_t lingering;               /* clients that linger */
    int draining;
    uint8_t challenges;                   /* of the 401 that is being composed: enum lb_challenge, bits */
    char location[LB_LOCATION_BYTES + 1]; /* of the redirect that is being composed */
    char *out;                            /* LB_OUT_BYTES: where heads are composed */
    uint64_t random;                      /* core/random.h */
    struct lb_date date;
    struct lb_stream (*stream_of)(
        struct lb_conn *conn); /* a backend's connection as an end of an exchange: its codec is chosen here */
    const struct lb_multiplexer *multiplexer;
    /* Do what was said of an exchange, and go on with it, whatever its client is. */
    void (*obey)(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_verdict said);
    struct lb_verdict won;     /* what the response that a twin got came to, for the exchange that has it now */
    struct lb_message message; /* the one under the hands of this thread */
};

#endif
