/* One TLS connection over a socket that never waits, and what a worker's connections share. Its handshake is in handshake.h, its bytes are
 * in stream.h. */
#ifndef LB_TLS_CONNECTION_H
#define LB_TLS_CONNECTION_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "context.h"
#include "tickets.h"

struct lb_slab;

/* What a worker's connections share. One thread's own. */
struct lb_tls_shared {
    struct lb_slab *slab; /* of struct lb_tls */
    uint32_t turn;        /* of the worker's loop: what a connection may read is counted anew in each */
    struct lb_ticket_keys keys;
    struct lb_tls_resumption *resumption; /* sessions with backends, by row */
    uint32_t backends;                    /* rows of it */
    char *gather;                         /* LB_TLS_RECORD bytes: short parts become one record */
};

enum { LB_TLS_RECORD = 16384 /* bytes of a record at most (RFC 8446 5.1) */ };

struct lb_tls {
    SSL *ssl;
    struct lb_tls_shared *shared;
    struct lb_tls_context *context;
    int fd;               /* the side's; closed by it */
    int error;            /* errno of what broke it; 0: nothing did */
    unsigned long reason; /* OpenSSL's, of a handshake that failed; 0: none */
    uint32_t turn;        /* in which these were counted: */
    uint32_t wire;        /* bytes read from the socket, and */
    uint32_t plain;       /* what came of them */
    uint32_t backend;     /* row, of a connection to one; UINT32_MAX: a client's */
    uint64_t tenant;      /* the row's generation */
    char *certificate;    /* the client's, DER in base64, NUL-ended; NULL: it showed none */
    uint8_t drained;      /* the socket was seen empty: nothing is to be read before the next event */
    uint8_t hung_up;      /* its end is at hand: read on until it shows */
    uint8_t ended;        /* its FIN was read; with no close_notify before it, it may have been cut */
    uint8_t tired;        /* too little came of too many bytes: it is read on in a later turn */
    uint8_t deaf;         /* the socket takes no more; what it has to say can still be read */
    uint8_t done;         /* the handshake is over */
    uint8_t broken;       /* no further call but the last */
    uint8_t finished;     /* close_notify is sent */
    uint8_t read_waits;   /* a read waits for room to write */
};

#endif
