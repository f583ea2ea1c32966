/* Accepted connections that say something before their first byte counts: a PROXY header from a trusted peer, a ClientHello on a
 * listener of mode tls. Both are peeked at in the socket; the header is taken out, the hello stays for the backend. */
#ifndef LB_GREETING_H
#define LB_GREETING_H

#include "hello.h"
#include "plane.h"

/* A connection that waits for its first words. */
struct lb_greeting {
    struct lb_timer timer; /* first: a timer is its greeting */
    struct lb_ends ends;
    int fd;
    uint32_t generation; /* in every event: those of an earlier tenant are dropped */
    uint16_t listener;
    uint8_t live;
    uint8_t expects_header; /* the PROXY header has not come yet */
};

/* It has greeted: the descriptor is the taker's. hello: what the client said, NULL where nobody listened. */
typedef void (*lb_greeted_fn)(void *context, int client, uint32_t listener, const struct lb_ends *ends,
                              const struct lb_hello *hello);

struct lb_greetings {
    struct lb_plane *plane;
    lb_greeted_fn done;
    void *context;
    struct lb_slab slab;
    struct lb_wheel wheel;
};

__attribute__((warn_unused_result)) int lb_greetings_open(struct lb_greetings *greetings, struct lb_plane *plane,
                                                          uint32_t most, lb_greeted_fn done, void *context);
void lb_greetings_close(struct lb_greetings *greetings);

/* Must this peer say something first? */
int lb_greeting_is_due(const struct lb_plane *plane, uint32_t listener, const union lb_address *peer);

/* Take over an accepted connection; the caller has seen that there is room. */
void lb_greeting_open(struct lb_greetings *greetings, int client, uint32_t listener, const union lb_address *peer);

/* An epoll event on one of them. */
void lb_greeting_event(struct lb_greetings *greetings, uint32_t index, uint32_t generation, uint32_t events);

/* At the end of a turn: those that took too long. */
void lb_greetings_turn(struct lb_greetings *greetings);
int lb_greetings_wait(const struct lb_greetings *greetings);

/* End all. */
void lb_greetings_stop(struct lb_greetings *greetings);

#endif
