/* A client's connection, as far as exchanges know it, whatever is spoken on it: its socket, and who is at the other end. Each codec's own
 * connection begins with it (h1.h). */
#ifndef LB_HTTP_CLIENT_H
#define LB_HTTP_CLIENT_H

#include "../core/timer.h"
#include "../l4/side.h"
#include "conn_pool.h"

/* Of one that is no connection, but a twin (twin.h), beside enum lb_protocol. */
enum { LB_SPEAKS_TWIN = 64, LB_SPEAKS_TWIN_TLS = 128 /* the client whose request it has spoke TLS */ };

struct lb_http_client {
    struct lb_timer timer; /* first: a timer is its client */
    struct lb_side side;
    struct lb_conn_stack own; /* idle backend connections that began with its PROXY header: no other client's */
    uint64_t key;             /* hash of its address, for maglev */
    uint32_t generation;      /* in every event */
    uint32_t since_ms;        /* monotonic, low 32 bits: since when we wait for its request, or for its end */
    uint32_t accept_us;       /* how long it took from the accept to here; 0 after the first exchange */
    uint32_t next;            /* in the list of clients to run again */
    uint32_t proxy_info;      /* what a PROXY header said of it (l4/proxy_info.h); 0: none came */
    uint32_t counted;         /* where it is counted as its address's (table/clients.h); 0: nowhere */
    uint8_t ip[16];           /* IPv4 mapped into IPv6 */
    uint16_t port;
    uint16_t listener;
    uint8_t queued;  /* it is in the list of clients to run again */
    uint8_t trusted; /* the peer is a proxy whose word is taken */
    uint8_t limited; /* requests in a row that came too fast */
    uint8_t speaks;  /* enum lb_protocol, or LB_SPEAKS_TWIN */
};

#endif
