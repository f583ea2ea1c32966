/* A client connection that speaks HTTP/2, and its streams. Each stream has an exchange; all that is their own of HTTP/2 stands here. */
#ifndef LB_H2_CLIENT_H
#define LB_H2_CLIENT_H

#include "../exchange.h"
#include "link.h"
#include "request.h"
#include "../http_client.h"

enum lb_h2_client_state {
    LB_H2_FREE = 0,
    LB_H2_OPEN = 1,
    LB_H2_PARTING = 2,   /* GOAWAY is said, no stream is left: what is held goes out, then FIN */
    LB_H2_LINGERING = 3, /* FIN is out: what still comes is thrown away, so that no reset takes the last words with it */
};

/* RFC 9113 6.8: first that nothing more should come, then, a round trip later, the last stream that is served. */
enum lb_h2_going { LB_H2_STAYS = 0, LB_H2_WARNED = 1, LB_H2_GOES = 2 };

/* What the header block under way is. */
enum lb_h2_block_kind { LB_H2_BLOCK_REQUEST, LB_H2_BLOCK_TRAILERS, LB_H2_BLOCK_IGNORED };

struct lb_h2_stream {
    struct lb_exchange *exchange;
    struct lb_h2_client *client;
    struct lb_h2_stream *older; /* of its connection; those that were served less lately come first */
    struct lb_h2_stream *newer;
    uint32_t id;
    uint32_t next; /* in the list of those to run */
    struct lb_h2_window window;
    struct lb_h2_credit credit;
    struct lb_flow in;       /* DATA that its other end has not taken */
    uint32_t trailers;       /* head buffer: lines of the request's; LB_SLAB_NONE: none */
    uint32_t trailers_count; /* bytes */
    uint32_t share;          /* bytes that it may send before others have had their turn */
    uint16_t refused;        /* enum lb_reading: what its request is told; 0: it is read */
    uint8_t error;           /* enum lb_h2_error: what RST_STREAM is to say; 0: by how its exchange ends */
    uint8_t free : 1;        /* it has ended; the list that it is in gives it back */
    uint8_t queued : 1;      /* it is in such a list */
    uint8_t begun : 1;       /* its request was looked at */
    uint8_t ended : 1;       /* END_STREAM has come */
    uint8_t said_end : 1;    /* END_STREAM went out */
    uint8_t reset : 1;       /* the client has reset it */
    uint8_t tunnels : 1;     /* it asks for another protocol (RFC 8441) */
    uint8_t is_tunnel : 1;   /* and has it: what comes is its bytes */
};

struct lb_h2_client {
    struct lb_http_client client; /* first. Its timer: header, keep-alive and lingering timeouts, while no stream is open */
    struct lb_h2_link link;
    struct lb_h2_stream *oldest;
    struct lb_h2_stream *newest;
    uint64_t opened;              /* bit k: stream last_in - 2k was opened, ... */
    uint64_t cut;                 /* ... and reset by us: what its client sent before it knew of that is passed over */
    uint32_t linger_ms;           /* monotonic, low 32 bits: when it began to */
    uint16_t streams;             /* open */
    uint8_t state;                /* enum lb_h2_client_state */
    uint8_t going;                /* enum lb_h2_going */
    uint8_t kind;                 /* enum lb_h2_block_kind */
    uint8_t depends;              /* the block's stream says to depend on itself */
    uint8_t full;                 /* a stream found no room in what has not been sent */
    uint8_t urged;                /* it is to go, streams or not: the balancer's time to drain runs out */
    struct lb_h2_request request; /* of the header block under way */
};

_Static_assert(sizeof(struct lb_h2_client) <= 600, "an idle connection is small: tables come on top, as they fill");

static inline struct lb_h2_client *lb_h2_client_of(const struct lb_http_client *client)
{
    return (struct lb_h2_client *)(uintptr_t)client;
}

#endif
