/* Accepted connections before they are served: a PROXY header from a trusted peer is taken out of the socket, a ClientHello on a
 * listener of mode tls is peeked at and stays, and where TLS ends here, its handshake is made. */
#ifndef LB_GREETING_H
#define LB_GREETING_H

#include "hello.h"
#include "plane.h"

enum lb_greeting_stage {
    LB_GREETING_HEADER, /* the PROXY header has not come yet */
    LB_GREETING_HELLO,  /* nor has the ClientHello, which names the pool */
    LB_GREETING_SHAKE,  /* the handshake has begun, or waits its turn to begin */
    LB_GREETING_TOLD,   /* it spoke plain HTTP and was told so: what it still sends is thrown away, until it ends */
};

struct lb_greeting {
    struct lb_timer timer; /* first: a timer is its greeting */
    struct lb_newcomer newcomer; /* its descriptor is watched */
    uint32_t generation; /* in every event: those of an earlier tenant are dropped */
    uint32_t next;       /* in the list of those to run */
    uint32_t older;      /* among those that shake hands, by since_ms */
    uint32_t newer;
    uint32_t since_ms;   /* monotonic, low 32 bits: when its handshake last went on */
    uint8_t live;
    uint8_t stage;  /* enum lb_greeting_stage */
    uint8_t queued; /* it is in a list */
    uint8_t gone;   /* the client was seen to hang up */
    uint8_t shaking; /* its handshake is under way */
    uint8_t words;   /* enum lb_first_words */
};

/* It has greeted: all that came is the taker's. */
typedef void (*lb_greeted_fn)(void *context, const struct lb_newcomer *newcomer);

/* Which pool does a hello lead to? */
typedef uint32_t (*lb_named_fn)(void *context, uint32_t listener, const struct lb_hello *hello);

/* Linked by next. */
struct lb_greeting_list {
    uint32_t first;
    uint32_t last;
    uint32_t count;
};

struct lb_greetings {
    struct lb_plane *plane;
    lb_greeted_fn done;
    lb_named_fn named;
    void *context;
    struct lb_slab slab;
    struct lb_wheel wheel;
    struct lb_greeting_list ready;   /* whose handshake can go on */
    struct lb_greeting_list waiting; /* whose handshake can begin */
    uint32_t eldest;  /* of those that shake hands */
    uint32_t youngest;
    uint32_t shaking; /* how many do */
    uint32_t most_shaking;
};

/* most: connections; most_shaking: handshakes under way at once. */
__attribute__((warn_unused_result)) int lb_greetings_open(struct lb_greetings *greetings, struct lb_plane *plane, uint32_t most,
                                                          uint32_t most_shaking);
void lb_greetings_close(struct lb_greetings *greetings);

/* Must this peer say something first? */
int lb_greeting_is_due(const struct lb_plane *plane, uint32_t listener, const union lb_address *peer);

/* Take over an accepted connection; the caller has seen that there is room. */
void lb_greeting_open(struct lb_greetings *greetings, const struct lb_newcomer *newcomer);

/* An epoll event on one of them. */
void lb_greeting_event(struct lb_greetings *greetings, uint32_t index, uint32_t generation, uint32_t events);

/* At the end of a turn: handshakes, as many as a turn has time for, and those that took too long. */
void lb_greetings_turn(struct lb_greetings *greetings);

/* Milliseconds until lb_greetings_turn has something to do by time; -1: nothing; 0: at once. */
int lb_greetings_wait(const struct lb_greetings *greetings);

/* End all. */
void lb_greetings_stop(struct lb_greetings *greetings);

/* --- between greeting.c, its life and words, and handshake.c --- */
struct lb_greeting *lb_greeting_at(const struct lb_greetings *greetings, uint32_t index);
uint32_t lb_greeting_index(const struct lb_greetings *greetings, const struct lb_greeting *greeting);
void lb_greeting_refuse(struct lb_greetings *greetings, struct lb_greeting *greeting, uint64_t *reason);
void lb_greeting_hand_on(struct lb_greetings *greetings, struct lb_greeting *greeting);
/* An ended one that a list still holds is given back by the list. */
void lb_greeting_give(struct lb_greetings *greetings, uint32_t index);

/* It spoke plain HTTP on a listener of mode https: 400, and what follows is not read. */
void lb_greeting_tell_plain(struct lb_greetings *greetings, struct lb_greeting *greeting, const char *bytes, uint32_t count);

/* Its words are said: the handshake is next, with the next turn that has room. */
void lb_handshake_begin(struct lb_greetings *greetings, struct lb_greeting *greeting);
void lb_handshake_event(struct lb_greetings *greetings, struct lb_greeting *greeting, uint32_t events);
/* It ends, as a greeting that is over or as one that is served. */
void lb_handshake_forget(struct lb_greetings *greetings, struct lb_greeting *greeting);
void lb_handshakes_turn(struct lb_greetings *greetings);
int lb_handshakes_wait(const struct lb_greetings *greetings);

#endif
