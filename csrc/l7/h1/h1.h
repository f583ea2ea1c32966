/* A client connection that speaks HTTP/1. It asks for one exchange after another (exchange.h); between them it is idle, and this is all
 * that there is of it: at most 200 bytes. */
#ifndef LB_H1_H
#define LB_H1_H

#include "../http_client.h"
#include "../input.h"

enum lb_h1_state {
    LB_H1_FREE = 0,
    LB_H1_OPEN = 1, /* it has an exchange, or a request is awaited, of which the head may have begun to come */
    LB_H1_LINGERING =
        2, /* all is said: what the client still sends is thrown away, so that no reset takes the response with it */
};

struct lb_exchange;

struct lb_h1 {
    struct lb_http_client client; /* first. Its timer: header, keep-alive and lingering timeouts, between exchanges (idle.c) */
    struct lb_exchange *exchange; /* under way; NULL: none */
    uint64_t line;                /* of the last request that expected 100: the first bytes of its request line, ... */
    uint64_t line_hash;           /* ... and a hash of its method and target */
    struct lb_input in;           /* between exchanges; that of an exchange is its own */
    uint32_t linger_ms;           /* monotonic, low 32 bits: when it began to linger */
    uint32_t unsent_left;         /* bytes of a body that may come though 417 was sent; UINT32_MAX: more than is waited for */
    uint8_t state;                /* enum lb_h1_state */
    uint8_t unsent;               /* 417 came instead of 100: the body may come all the same, or the request once more */
    uint8_t asked;                /* a request has come */
    uint8_t pad;
};

_Static_assert(sizeof(struct lb_h1) <= 200, "an idle client is small");

/* An exchange's client, of which it is known that it speaks HTTP/1. */
static inline struct lb_h1 *lb_h1_of(const struct lb_http_client *client)
{
    return (struct lb_h1 *)(uintptr_t)client;
}

#endif
