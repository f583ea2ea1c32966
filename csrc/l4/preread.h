/* Accepted connections before they are served: a PROXY header from a trusted peer is taken out of the socket, a ClientHello on a
 * listener of mode tls is peeked at and stays, and where TLS ends here, its handshake is made. */
#ifndef LB_PREREAD_H
#define LB_PREREAD_H

#include "hello.h"
#include "worker_context.h"

enum lb_preread_stage {
    LB_PREREAD_HEADER, /* the PROXY header has not come yet */
    LB_PREREAD_HELLO,  /* nor has the ClientHello, which names the pool */
    LB_PREREAD_SHAKE,  /* the handshake has begun, or waits its turn to begin */
    LB_PREREAD_TOLD,   /* it spoke plain HTTP and was told so: what it still sends is thrown away, until it ends */
};

struct lb_preread {
    struct lb_timer timer; /* first: a timer is its preread */
    struct lb_accepted accepted; /* its descriptor is watched */
    uint32_t generation; /* in every event: those of an earlier tenant are dropped */
    uint32_t next;       /* in the list of those to run */
    uint32_t older;      /* among those that shake hands, by since_ms */
    uint32_t newer;
    uint32_t since_ms;   /* monotonic, low 32 bits: when its handshake last went on */
    uint8_t live;
    uint8_t stage;  /* enum lb_preread_stage */
    uint8_t queued; /* it is in a list */
    uint8_t gone;   /* the client was seen to hang up */
    uint8_t shaking; /* its handshake is under way */
    uint8_t words;   /* enum lb_first_words */
};

/* It has prereads_done: all that came is the taker's. */
typedef void (*lb_preread_fn)(void *context, const struct lb_accepted *accepted);

/* Which pool does a hello lead to? */
typedef uint32_t (*lb_named_fn)(void *context, uint32_t listener, const struct lb_hello *hello);

/* Linked by next. */
struct lb_preread_list {
    uint32_t first;
    uint32_t last;
    uint32_t count;
};

struct lb_prereads {
    struct lb_worker_context *ctx;
    lb_preread_fn done;
    lb_named_fn named;
    void *context;
    struct lb_slab slab;
    struct lb_wheel wheel;
    struct lb_preread_list ready;   /* whose handshake can go on */
    struct lb_preread_list waiting; /* whose handshake can begin */
    uint32_t eldest;  /* of those that shake hands */
    uint32_t youngest;
    uint32_t shaking; /* how many do */
    uint32_t most_shaking;
};

/* most: connections; most_shaking: handshakes under way at once. */
__attribute__((warn_unused_result)) int lb_prereads_open(struct lb_prereads *prereads, struct lb_worker_context *ctx,
                                                         uint32_t most, uint32_t most_shaking);
void lb_prereads_close(struct lb_prereads *prereads);

/* Must this peer say something first? */
int lb_preread_is_due(const struct lb_worker_context *ctx, uint32_t listener, const union lb_address *peer);

/* Take over an accepted connection; the caller has seen that there is room. */
void lb_preread_open(struct lb_prereads *prereads, const struct lb_accepted *accepted);

/* An epoll event on one of them. */
void lb_preread_event(struct lb_prereads *prereads, uint32_t index, uint32_t generation, uint32_t events);

/* At the end of a turn: handshakes, as many as a turn has time for, and those that took too long. */
void lb_prereads_turn(struct lb_prereads *prereads);

/* Milliseconds until lb_prereads_turn has something to do by time; -1: nothing; 0: at once. */
int lb_prereads_wait(const struct lb_prereads *prereads);

/* End all. */
void lb_prereads_stop(struct lb_prereads *prereads);

/* --- between preread.c, its life and words, and handshake.c --- */
struct lb_preread *lb_preread_at(const struct lb_prereads *prereads, uint32_t index);
uint32_t lb_preread_index(const struct lb_prereads *prereads, const struct lb_preread *preread);
void lb_preread_refuse(struct lb_prereads *prereads, struct lb_preread *preread, uint64_t *reason);
void lb_preread_hand_on(struct lb_prereads *prereads, struct lb_preread *preread);
/* An ended one that a list still holds is given back by the list. */
void lb_preread_give(struct lb_prereads *prereads, uint32_t index);

/* It spoke plain HTTP on a listener of mode https: 400, and what follows is not read. */
void lb_preread_tell_plain(struct lb_prereads *prereads, struct lb_preread *preread, const char *bytes, uint32_t count);

/* Its words are said: the handshake is next, with the next turn that has room. */
void lb_handshake_begin(struct lb_prereads *prereads, struct lb_preread *preread);
void lb_handshake_event(struct lb_prereads *prereads, struct lb_preread *preread, uint32_t events);
/* It ends, as a preread that is over or as one that is served. */
void lb_handshake_forget(struct lb_prereads *prereads, struct lb_preread *preread);
void lb_handshakes_turn(struct lb_prereads *prereads);
int lb_handshakes_wait(const struct lb_prereads *prereads);

#endif
