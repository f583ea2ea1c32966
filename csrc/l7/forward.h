/* What a request says of its way, as it goes on to its backend. */
#ifndef LB_FORWARD_H
#define LB_FORWARD_H

#include "../table/shm.h"
#include "edited.h"
#include "trace.h"

enum {
    LB_AUTHORITY_BYTES = 1024,   /* a longer one is refused */
    LB_ENCODE_ROOM = 8192,       /* what composing may add to a head, beside the client's certificate */
    LB_CERTIFICATE_ROOM = 12352, /* and what that may: 9 KiB in base64 */
    LB_VIA_BYTES = 10,
    LB_ID_BYTES = 32,        /* of a request's id in print */
    LB_FORWARD_ADDRESS = 46, /* of an address in print, NUL included */
};

struct lb_caller;

/* What the balancer knows of a request's way. */
struct lb_forward {
    const struct lb_listener_row *listener;
    const uint8_t *peer;            /* address of the client's end, 16 bytes: IPv4 mapped into IPv6 */
    const char *backend;            /* HOST:PORT, for requests without a Host */
    int trusted;                    /* the peer is a proxy whose word is taken */
    int last;                       /* no other request follows on the backend's connection: its codec says so */
    uint8_t tls;                    /* the client spoke TLS */
    uint8_t http2;                  /* and HTTP/2 */
    const char *certificate;        /* its own, DER in base64; NULL: none */
    uint64_t id[2];                 /* of the request */
    const struct lb_trace *trace;   /* goes on as the request's traceparent; NULL: what came stays */
    const struct lb_edited *edited; /* what is done to its head; NULL: nothing */
    uint8_t trailers;               /* its pool takes them */
    int trace_begins;               /* with us: a tracestate that came is not its own */
    const struct lb_caller *caller; /* who asks, by credentials; NULL: it was not asked */
};

/* Is the word of this header's sender taken? name: in any case. */
int lb_forward_believes(const struct lb_forward *forward, const char *name, uint32_t length);

/* Who passed a message on, and by what it came (RFC 9110 7.6.3): of LB_VIA_BYTES. http2: so it came; else minor: by HTTP/1.minor. */
const char *lb_forward_via(int http2, uint8_t minor);

/* An id in print, LB_ID_BYTES without an end; where it ends. */
char *lb_forward_write_id(char *to, const uint64_t id[2]);

/* A client at a unix socket has none (lb_net_as_v6). */
int lb_forward_has_address(const uint8_t ip[16]);

/* An address in print, without an end; where it ends: at most LB_FORWARD_ADDRESS further on. */
char *lb_forward_write_address(char *to, const uint8_t ip[16]);

#endif
