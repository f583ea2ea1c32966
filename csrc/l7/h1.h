/* A client connection that speaks HTTP/1. It asks for one exchange after another (exchange.h); between them it is idle, and this is all
 * that there is of it: at most 200 bytes. */
#ifndef LB_H1_H
#define LB_H1_H

#include "../core/timer.h"
#include "../l4/side.h"
#include "conn_pool.h"
#include "input.h"

enum lb_h1_state {
    LB_H1_FREE = 0,
    LB_H1_OPEN = 1, /* it has an exchange, or a request is awaited, of which the head may have begun to come */
    LB_H1_LINGERING =
        2, /* all is said: what the client still sends is thrown away, so that no reset takes the response with it */
};

struct lb_exchange;

struct lb_h1 {
    struct lb_timer
        timer; /* first: a timer is its client. Between exchanges: header, keep-alive and lingering timeouts (idle.c) */
    struct lb_side side;
    struct lb_exchange *exchange; /* under way; NULL: none */
    uint64_t key;                 /* hash of its address, for maglev */
    uint64_t line;                /* of the last request that expected 100: the first bytes of its request line, ... */
    uint64_t line_hash;           /* ... and a hash of its method and target */
    struct lb_input in;           /* between exchanges; that of an exchange is its own */
    uint32_t generation;          /* in every event */
    uint32_t since_ms;            /* monotonic, low 32 bits: since when we wait for its request, or for its end */
    uint32_t linger_ms;           /* likewise: when it began to linger */
    uint32_t accept_us;           /* how long it took from the accept to here; 0 after the first exchange */
    uint32_t next;                /* in the list of clients to run again */
    uint32_t proxy_info;          /* what a PROXY header said of it (l4/proxy_info.h); 0: none came */
    uint32_t counted;             /* where it is counted as its address's (table/clients.h); 0: nowhere */
    uint32_t unsent_left;         /* bytes of a body that may come though 417 was sent; UINT32_MAX: more than is waited for */
    struct lb_conn_stack own;     /* idle backend connections that began with its PROXY header: no other client's */
    uint8_t ip[16];               /* IPv4 mapped into IPv6 */
    uint16_t port;
    uint16_t listener;
    uint8_t state;   /* enum lb_h1_state */
    uint8_t queued;  /* it is in the list of clients to run again */
    uint8_t trusted; /* the peer is a proxy whose word is taken */
    uint8_t limited; /* requests in a row that came too fast */
    uint8_t unsent;  /* 417 came instead of 100: the body may come all the same, or the request once more */
    uint8_t pad[7];
};

_Static_assert(sizeof(struct lb_h1) <= 200, "an idle client is small");

#endif
