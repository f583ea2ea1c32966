/* An exchange: one request and its response. It exists while it is under way, from the request's whole head to the response's end, and
 * has two ends: the client that asks, and a connection to a backend, taken from a pool of them or opened for it. */
#ifndef LB_EXCHANGE_H
#define LB_EXCHANGE_H

#include "../l4/flow.h"
#include "../l4/peers.h"
#include "../table/wish.h"
#include "chunked.h"
#include "http_client.h"
#include "input.h"
#include "sticky.h"
#include "stream.h"

enum lb_exchange_state {
    LB_EXCHANGE_BEGUN = 0,      /* its request lies in the buffer, and nobody has it yet */
    LB_EXCHANGE_QUEUED = 1,     /* it waits for a backend that can take it */
    LB_EXCHANGE_CONNECTING = 2, /* one is being reached */
    LB_EXCHANGE_FORWARDING = 3, /* the request goes out, the response comes in */
    LB_EXCHANGE_RESPONDING = 4, /* the balancer's local response goes out */
    LB_EXCHANGE_READING = 5,    /* its route depends on more of its body */
    LB_EXCHANGE_ASKING = 6,     /* a service decides whether it may go on */
};

/* Where the response stands. */
enum lb_response { LB_RESPONSE_AWAITED = 0, LB_RESPONSE_BODY = 1, LB_RESPONSE_WHOLE = 2 };

/* Whom an exchange waits for in a body, so that its pace is judged (min_rate.c). */
enum lb_rated { LB_RATE_NOBODY = 0, LB_RATE_SENDER = 1, LB_RATE_TAKER = 2 };

/* A body on its way: what is still to come of it. */
struct lb_body {
    uint64_t left; /* LB_BODY_LENGTH: bytes */
    struct lb_chunked chunked;
    uint8_t framing; /* enum lb_framing */
    uint8_t whole;   /* nothing is to come any more */
    uint8_t streak;  /* reads in a row that were full: LB_STREAMING: splice */
    uint8_t pad[5];
};

/* How an exchange stands to another with the same request (hedge.h). */
enum lb_hedging {
    LB_HEDGE_NONE = 0,
    LB_HEDGE_MAY_GO = 1, /* its request goes to a second backend, should the first be late */
    LB_HEDGE_IS_OUT = 2, /* it has gone, by a twin */
    LB_HEDGE_ASKS = 3,   /* a twin asks about another's request, and that waits for it: both (auth_request.h) */
    LB_HEDGE_TWIN = 4,   /* this is the twin */
    LB_HEDGE_OVER = 5,   /* a twin that nobody waits for any more */
};

struct lb_exchange {
    struct lb_timer
        timer; /* first: a timer is its exchange. Stays set when the exchange is over: it is looked at when it fires */
    struct lb_http_client *client; /* NULL: this is a free place */
    struct lb_stream stream[2];    /* LB_CLIENT, LB_BACKEND: its ends, each as its codec has it */
    struct lb_input in;            /* its request, as far as it is still needed, and what came behind it */
    uint32_t conn;                 /* to the backend; LB_SLAB_NONE: none */
    uint32_t backend;              /* row, charged with the exchange; LB_NONE: none */
    uint32_t since_ms;             /* monotonic, low 32 bits: since when we wait for what we wait for */
    uint32_t asked_ms;             /* likewise: when the request last moved on (deadline.c) */
    uint32_t sent_us;              /* likewise: when the request or the connect went out */
    uint8_t state;                 /* enum lb_exchange_state */
    uint8_t method;                /* enum lb_method */
    uint8_t minor;                 /* HTTP/1.minor of the request */
    uint8_t stage;                 /* enum lb_response */
    uint8_t persistent;            /* the client's connection goes on after this exchange */
    uint8_t conn_keeps;            /* so does the backend's */
    uint8_t replayable;            /* the whole request is in the buffer, and idempotent */
    uint8_t kept;        /* what of it has come is there, though not to be repeated where a backend may have looked at it */
    uint8_t grpc;        /* it is a call of gRPC */
    uint8_t grpc_status; /* enum lb_grpc_status, of its response */
    uint8_t grpc_web;    /* enum lb_grpc_web: its client says it so */
    uint8_t only_http1;  /* its backend will not have it by HTTP/2 */
    uint8_t judged;      /* what its backend is told to have done with the call is said */
    uint8_t overdue;     /* the client's own time for it is over */
    uint8_t fresh_only;  /* a kept connection failed: no other is tried */
    uint8_t moved_on;    /* a fresh one failed, too: another backend was tried */
    uint8_t turned_away; /* a backend that goes away did not look at it: any was tried again */
    uint8_t reused;      /* the connection had carried exchanges before */
    uint8_t upgrade;     /* the request asked for another protocol */
    uint8_t switching;   /* and the backend agrees, but the request's body is still on its way */
    uint8_t expects;     /* its body comes when the backend has said 100 */
    uint8_t navigates;   /* it is a browser's, which shows what comes */
    uint8_t sticky_new;  /* its cookie is to be set */
    uint8_t secure;      /* its client spoke TLS, with us or with a proxy whose word is taken */
    uint8_t acked;       /* enum lb_ack */
    uint8_t parts;       /* the response has begun to come: acknowledge its further parts */
    uint8_t tried_count;
    uint8_t hedging;    /* enum lb_hedging */
    uint8_t shortages;  /* of tried[]: that this host lacked something for */
    uint8_t quiet;      /* its fresh connection brought nothing for too long, which was noted */
    uint8_t deaf;       /* its backend takes no more of the request */
    uint8_t stalled;    /* its client has more of the request, and its backend takes none now */
    uint8_t withheld;   /* 417 came instead of 100: the rest of its body is not waited for */
    uint8_t open;       /* it is counted as active */
    uint8_t timed_out;  /* a connect of this exchange ran out of time */
    uint8_t routed;     /* its pool is known */
    uint8_t tunnel;     /* it carries another protocol: its ends say nothing of requests and responses any more */
    uint8_t json;       /* enum lb_json_why: what its body said to its routes */
    uint8_t model;      /* that its route names: row and one; 0: none */
    uint8_t rated;      /* enum lb_rated: whom alone we have waited for since rated_ms */
    uint8_t urgent;     /* it waits with high priority */
    uint8_t authorized; /* the service that decides has let it on, by the route and the routes of asked_row and asked_version */
    uint16_t cost;      /* what it is charged with */
    uint16_t status;    /* of the response; 0: none yet */
    uint16_t pool;
    uint16_t route;    /* that led there: its number, and 1; 0: none */
    uint16_t mirror;   /* row and 1 of the pool that is to get a copy of it; 0: none, or it has got it */
    uint16_t refused;  /* the status that sent it to another backend, until that one may have acted on it; 0: none did */
    uint16_t pause_s;  /* what Retry-After said with it */
    uint32_t retry_on; /* enum lb_retry_on, bits: responses that send it to another backend; 0: none */
    struct lb_body request;
    struct lb_body response;
    struct lb_flow up;   /* what the backend did not take yet */
    struct lb_flow down; /* what the client did not take yet */
    uint64_t began_us;   /* monotonic: when the head of the request was whole */
    uint64_t bytes_in;   /* from the client */
    uint64_t bytes_out;  /* from the backend, or of our local response */
    uint32_t reached_us; /* since began_us: when the request could be sent; LB_NEVER_US: not yet */
    uint32_t first_us;   /* likewise: when the response's head came */
    uint32_t log;        /* texts for its record; LB_SLAB_NONE: none are kept */
    uint32_t text;       /* what its body said to its pool's policy (text_body.c); LB_SLAB_NONE: nothing */
    uint32_t reading;    /* of its body, for its route (route_body.c); LB_SLAB_NONE: none is under way */
    uint32_t caller;     /* whose credentials came (caller.h); LB_SLAB_NONE: none were asked for */
    uint32_t decision;   /* the pick of its backend, for table/why.h */
    uint32_t part;       /* head buffer: a response's head that came in parts */
    uint32_t part_end;
    uint32_t hedge;     /* the twin, or whose twin it is: an exchange; of one that waits for a decision: the twin that asks */
    uint32_t behind;    /* in the queue of its pool */
    uint32_t waits_for; /* this backend alone, which is full; LB_NONE: any */
    uint32_t others[LB_STICKY_PARTS - 1]; /* backends that its cookie names in other pools; LB_NONE: none */
    uint32_t tried[LB_MAX_TRIED];
    uint32_t grpc_ms;       /* how long its client waits for the call; 0: as long as it takes */
    uint32_t rated_ms;      /* monotonic, low 32 bits */
    uint16_t held;          /* held_route.h: the row of its route and one, ... */
    uint16_t era;           /* ... among the routes of that time */
    uint32_t queued_us;     /* in the queue: now less this has been its wait; else what all its waits there took */
    uint32_t way;           /* of struct lb_way: how alternatives of its routes came out; LB_SLAB_NONE: nothing to tell */
    uint32_t edited;        /* head buffer: what is done to its heads (edited.h); LB_SLAB_NONE: nothing */
    uint32_t granted;       /* head buffer: what a decision has left with it (auth_request.h); LB_SLAB_NONE: nothing */
    uint32_t asked_row;     /* of the route that a service was asked for (lb_routed_to.row), ... */
    uint32_t asked_version; /* ... among the routes of this version */
    uint64_t rated_bytes;   /* what the client had sent or taken at rated_ms */
    struct lb_peers peers;  /* what is known of both peers' acknowledgements */
};

#endif
