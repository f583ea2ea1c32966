/* A connection to a backend that speaks HTTP/2, and the calls that are made on it. Each call is a stream that we opened, or are about to
 * open, for one exchange; all that is its own of HTTP/2 stands here. */
#ifndef LB_H2_SERVER_H
#define LB_H2_SERVER_H

#include "../base64.h"
#include "../exchange.h"
#include "link.h"
#include "response.h"

enum lb_h2_server_state {
    LB_H2_SERVER_FREE = 0,
    LB_H2_SERVER_CONNECTING = 1, /* its calls wait for it */
    LB_H2_SERVER_OPEN = 2,
    LB_H2_SERVER_LOST = 3, /* its socket is closed; its calls have not been told yet */
};

/* What the header block under way is. */
enum lb_h2_server_block { LB_H2_SERVER_HEAD, LB_H2_SERVER_TRAILERS, LB_H2_SERVER_IGNORED };

enum { LB_H2_CALL_CHAINS = 64 }; /* a power of two: calls of one connection that are open at once fill them evenly */

struct lb_h2_server;

struct lb_h2_call {
    struct lb_exchange *exchange; /* NULL: it is over, and the list that it is in gives its place back */
    struct lb_h2_server *server;
    struct lb_h2_call *older; /* of its connection */
    struct lb_h2_call *newer;
    struct lb_h2_call *chained; /* the next in its chain by number */
    uint32_t id;                /* 0: it has not been opened */
    uint32_t next;              /* in the list of those to run */
    struct lb_h2_window window;
    struct lb_h2_credit credit;
    struct lb_flow in;          /* DATA that the client has not taken */
    uint32_t head;              /* head buffer: lines of the response's head; LB_SLAB_NONE: none */
    uint32_t trailers;          /* likewise of its trailers */
    uint32_t trailers_count;    /* bytes */
    uint32_t last;              /* head buffer: lines of the trailers of the request; LB_SLAB_NONE: none */
    uint32_t last_count;        /* bytes */
    uint32_t doubted_ms;        /* monotonic, low 32 bits: since when it waits for a GOAWAY */
    struct lb_h2_response says; /* of the head */
    struct lb_chunked chunked;  /* the request's body, as it comes to us */
    struct lb_base64 text;      /* that, within its chunks, of a call of gRPC-Web */
    uint8_t error;              /* enum lb_h2_error: what the backend's RST_STREAM said */
    uint8_t queued : 1;         /* it is in the list of those to run */
    uint8_t told : 1;           /* its connection is open, and the exchange knows */
    uint8_t answered : 1;       /* the final head has come */
    uint8_t ended : 1;          /* END_STREAM has come */
    uint8_t said_end : 1;       /* END_STREAM went out */
    uint8_t owes_end : 1;       /* it is to go out, and there was no room */
    uint8_t reset : 1;          /* the backend has reset it */
    uint8_t refused : 1;        /* GOAWAY says that it was not looked at */
    uint8_t connects : 1;       /* it asks for another protocol (RFC 8441) */
    uint8_t doubted : 1;        /* its response looks like one of a backend that stops */
    uint8_t bad;                /* what came breaks the rules */
};

struct lb_h2_server {
    struct lb_timer timer; /* first: a timer is its connection. Connecting, and between calls */
    struct lb_side side;
    struct lb_h2_link link;
    struct lb_h2_call *oldest;
    struct lb_h2_call *newest;
    uint64_t row_generation; /* the tenant of ... */
    uint32_t backend;        /* ... this row */
    uint32_t pool;
    uint32_t generation; /* in every event */
    uint32_t next;       /* in the list of those to look at */
    uint32_t further;    /* of the same backend; LB_SLAB_NONE: none */
    uint32_t before;
    uint32_t since_ms;           /* monotonic, low 32 bits: when it began to connect, or when its last call ended */
    uint32_t blind;              /* the last stream that was opened before the backend had said how many it takes */
    uint32_t carried;            /* calls that came to their end */
    uint16_t calls;              /* under way or waiting */
    uint16_t doubts;             /* calls that are doubted */
    uint8_t state;               /* enum lb_h2_server_state */
    uint8_t queued;              /* it is in the list of those to look at */
    uint8_t going;               /* no call is opened any more */
    uint8_t warned;              /* the backend's GOAWAY has come */
    uint8_t untold;              /* calls wait for its first SETTINGS */
    uint8_t kind;                /* enum lb_h2_server_block */
    uint8_t full;                /* a call found no room in what has not been sent */
    struct lb_h2_response block; /* the head under way */
    struct lb_h2_call *chains[LB_H2_CALL_CHAINS]; /* by number: responses come in any order */
};

/* Does the exchange ask for another protocol, as a client of HTTP/2 does? Whether its backend takes that, its SETTINGS say (RFC 8441 3). */
static inline int lb_h2_asks_for_tunnel(const struct lb_exchange *exchange)
{
    return exchange->upgrade && exchange->stream[LB_CLIENT].http2;
}

static inline struct lb_h2_call *lb_h2_call_of(const struct lb_exchange *exchange)
{
    return exchange->stream[LB_BACKEND].own;
}

#endif
