/* The two ends of an exchange: its client and its backend, whatever each of them speaks. What is said is the exchange's matter (transfer.c,
 * response.c, respond.c); how it is put into bytes, and how bytes are read, is the codec's. Files that serve all codecs reach it through
 * these functions alone. A codec does one step and says by a verdict what is to follow: it never calls the driver. */
#ifndef LB_STREAM_H
#define LB_STREAM_H

#include <stddef.h>
#include <stdint.h>

#include "../l4/lane.h"
#include "conn_pool.h"
#include "verdict.h"

struct lb_l7;
struct lb_exchange;
struct lb_body_lane;
struct lb_forward;
struct lb_chunk_piece;

/* What an end is ready for. */
enum {
    LB_CAN_READ = 1, /* there may be something to read */
    LB_CAN_SEND = 2, /* it takes bytes, as far as is known */
    LB_HAS_LEFT = 4, /* nothing more comes behind what there is */
};

/* A head that goes out, with what there is of its body. l7->message is the head, as it came. */
struct lb_head_out {
    const char *bytes; /* the message was read from there */
    const char *body;
    size_t body_count;
    struct lb_forward *forward; /* of a request */
    const char *cookie;         /* of a response: a Set-Cookie value to add, or NULL */
    uint32_t trailers;          /* of a response: bytes of trailers that came with it (chunked.h), to be sent when it is over */
};

struct lb_stream_ops {
    /* of both ends */
    unsigned (*ready)(const struct lb_exchange *exchange);
    /* Send a head: LB_STEP_MOVED; LB_STEP_STARVED: no buffer could hold what is not taken; LB_STEP_TO_FAILED;
     * LB_STEP_BAD: what goes with it is not what it says. */
    enum lb_step (*head)(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_head_out *out);
    /* Read once, of the body that comes from there. What goes on of it is said in the form that the other end takes. */
    enum lb_step (*read)(struct lb_body_lane *body, struct lb_chunk_piece *piece);
    /* Send such bytes there, and hold what it does not take. LB_STEP_BAD: they are not what the head says of them. */
    enum lb_step (*data)(struct lb_body_lane *body, const char *bytes, size_t count);
    /* Send on what is held: 1 nothing is left, 0 it takes no more, -1 it failed. */
    int (*flush)(struct lb_l7 *l7, struct lb_exchange *exchange);

    /* of a client's */
    /* Compose the balancer's own response into l7->out: its length. said.number: seconds for Retry-After, 0: none. */
    size_t (*local)(struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_verdict said);
    /* The request is wanted again, as l7->message: it lies in the exchange's buffer. */
    void (*recall)(struct lb_l7 *l7, const struct lb_exchange *exchange);
    /* While no backend has a byte of the request: read more of its body, into that buffer, or see that the client has left.
     * LB_NEXT_WAIT: no more can be read now. surely: what has come since the poller was asked counts, too. */
    struct lb_verdict (*more)(struct lb_l7 *l7, struct lb_exchange *exchange, int surely);
    /* The response is out: leave the exchange (finish.h), and say what becomes of the connection. */
    struct lb_verdict (*done)(struct lb_l7 *l7, struct lb_exchange *exchange);
    /* It breaks off, for this reason: leave it likewise. A response that has begun must not look whole. */
    void (*reset)(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_end why);

    /* The backend agrees to the protocol that the request asked for, by the response in l7->message, which came with what follows. */
    struct lb_verdict (*switched)(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, uint32_t count);

    /* of a backend's */
    /* Read what there is of a response's head. */
    struct lb_verdict (*await)(struct lb_l7 *l7, struct lb_exchange *exchange);
    /* Go on with what was kept of a response, because nothing could follow what the client had not taken, or had not asked. */
    struct lb_verdict (*resume)(struct lb_l7 *l7, struct lb_exchange *exchange);
    /* It is another exchange's now. */
    void (*carry)(struct lb_l7 *l7, struct lb_exchange *exchange);
    /* The exchange leaves its connection (conn: NULL where it carries others, too): has its response come to its end, and is the connection fit for another? */
    void (*leave)(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_conn *conn, enum lb_conn_end how);
};

struct lb_stream {
    const struct lb_stream_ops *ops;
    struct lb_side *side; /* the socket that is this stream's alone, so that it may be spliced; NULL: none is */
    uint8_t chunks;       /* it takes a chunked body as it is framed (chunked.h); else its data alone */
    uint8_t takes;        /* of a chunked body, where it takes none: enum lb_chunk_rule, bits */
    uint8_t http2;        /* what it carries came, or goes, by HTTP/2 */
    uint8_t pad[5];
    void *own; /* what its codec has of it beside; NULL: nothing */
};

#endif
