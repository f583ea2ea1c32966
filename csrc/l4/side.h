/* One end of a connection: a socket, what is known of its readiness, and TLS where it is spoken. */
#ifndef LB_SIDE_H
#define LB_SIDE_H

#include <stdint.h>

#include "../core/io.h"

struct lb_tls;

enum lb_side_name { LB_CLIENT = 0, LB_BACKEND = 1 };

/* Readiness is edge-triggered: true until a call says otherwise. */
struct lb_side {
    int fd; /* -1: none */
    uint8_t readable;
    uint8_t writable;
    uint8_t hung_up;     /* its FIN or error is at hand: read on until it shows */
    uint8_t failed : 1;  /* a call said so */
    uint8_t hurried : 1; /* what its peer does not acknowledge is sent again more often than usual (core/tcp_state.h) */
    struct lb_tls *tls;  /* owned; NULL: bytes go as they are */
};

/* What an epoll event says of it. */
void lb_side_note(struct lb_side *side, uint32_t events);

ssize_t lb_side_recv_tls(struct lb_side *side, void *bytes, size_t count);
ssize_t lb_side_send_tls(struct lb_side *side, const void *bytes, size_t count);

/* Has it been read so much of in this turn, for so little, that the rest must wait for a later one? Only of TLS. */
int lb_side_is_tired(const struct lb_side *side);

/* A read asked for so much and got less: nothing is there now, unless it has hung up or is tired. */
static inline void lb_side_got(struct lb_side *side, size_t got, size_t asked)
{
    if (got < asked && !side->hung_up && !(side->tls && lb_side_is_tired(side)))
        side->readable = 0;
}

/* As recv and send with MSG_DONTWAIT; EBUSY in a read: it is tired. */
static inline ssize_t lb_side_recv(struct lb_side *side, void *bytes, size_t count)
{
    return side->tls ? lb_side_recv_tls(side, bytes, count) : lb_recv(side->fd, bytes, count);
}

static inline ssize_t lb_side_send(struct lb_side *side, const void *bytes, size_t count)
{
    return side->tls ? lb_side_send_tls(side, bytes, count) : lb_send(side->fd, bytes, count);
}

/* Two parts in one call. */
ssize_t lb_side_send_parts(struct lb_side *side, const void *a, size_t a_count, const void *b, size_t b_count);

/* What is there to be read, for one that takes no more bytes as its own: as recv with MSG_PEEK. TLS loses what it looks at; tickets
 * and the like are taken in on the way. */
ssize_t lb_side_peek(struct lb_side *side, void *bytes, size_t count);

/* Nothing more will be sent: 0, or -1 with EAGAIN when its last words do not fit now. */
int lb_side_finish(struct lb_side *side);

/* Did it end without saying so, where TLS would have? What came may not be all. */
int lb_side_is_cut(const struct lb_side *side);

/* Nothing more will be sent, and nobody can vouch that this was all: TLS ends without a word. */
void lb_side_finish_cut(struct lb_side *side);

/* The end. reset: the peer reads ECONNRESET. */
void lb_side_close(struct lb_side *side, int reset);

#endif
