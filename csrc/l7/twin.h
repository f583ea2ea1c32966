/* A twin: an exchange of our own beside a client's, with a copy of its request, which has come whole. It has no connection to answer to: this
 * is its client. What a copy of a request is good for, those who make one say (mirror.h). */
#ifndef LB_TWIN_H
#define LB_TWIN_H

#include "auth_cache.h"
#include "l7.h"
#include "verdict.h"

enum {
    LB_TWINS = 1024,        /* under way at once, of one worker, */
    LB_MIRRORS = 256,       /* and copies for mirrors among them */
    LB_GRANTED_NAMES = 512, /* bytes of the names of headers that a decision grants (auth_request.h) */
};

struct lb_twin {
    struct lb_http_client client; /* first. next, queued: in the list of those to run */
    struct lb_exchange *exchange; /* NULL: it is over, and the list gives it back */
    /* of one that asks about another exchange (auth_request.h) */
    uint32_t asker;          /* that exchange; LB_SLAB_NONE: none, or it does not wait any more */
    uint32_t limit_ms;       /* how long that waits */
    uint32_t cache_ms;       /* how long a yes holds; 0: it is not kept */
    uint32_t leads_to;       /* the pool that it is for */
    uint16_t route;          /* that leads there: its number, and 1; 0: none */
    uint16_t granted_length; /* of the names of headers that go on: each behind its length in a byte */
    struct lb_auth_key key;  /* of the cache */
    struct lb_verdict said;  /* LB_NEXT_WAIT: nothing yet */
    char granted[LB_GRANTED_NAMES];
};

static inline int lb_is_twin(const struct lb_http_client *client)
{
    return client->speaks & LB_SPEAKS_TWIN;
}

/* Of a client that is one. */
static inline struct lb_twin *lb_twin_of(const struct lb_http_client *client)
{
    return (struct lb_twin *)(uintptr_t)client;
}

/* One with the request of this exchange, all of which is held: it runs in this turn or the next. NULL: there is no place, or the request is longer
 * than a head buffer. */
struct lb_twin *lb_twin_take(struct lb_l7 *l7, const struct lb_exchange *exchange, uint32_t pool);

/* One with this head of a GET of ours, and no body: for whom the exchange is. */
struct lb_twin *lb_twin_with(struct lb_l7 *l7, const struct lb_exchange *exchange, uint32_t pool, const char *head,
                             uint32_t count);

/* It is to run. */
static inline void lb_twin_ready(struct lb_l7 *l7, struct lb_twin *twin)
{
    if (twin->client.queued)
        return;
    twin->client.queued = 1;
    twin->client.next = l7->twins_ready;
    l7->twins_ready = lb_slab_index(&l7->twins, twin);
}

/* An exchange whose twin is out does not wait for it any more: it ends when it runs. */
static inline void lb_twin_let_go(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_exchange *twin = lb_slab_at(&l7->exchanges, exchange->hedge);
    exchange->hedging = LB_HEDGE_NONE;
    twin->hedging = LB_HEDGE_OVER;
    lb_twin_ready(l7, lb_twin_of(twin->client));
}

/* An exchange does not wait for the answer to a question any more. */
static inline void lb_twin_forget_asker(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->hedging != LB_HEDGE_ASKS || lb_is_twin(exchange->client))
        return;
    struct lb_twin *twin = lb_slab_at(&l7->twins, exchange->hedge);
    exchange->hedging = LB_HEDGE_NONE;
    twin->asker = LB_SLAB_NONE;
    if (twin->exchange && twin->said.next == LB_NEXT_WAIT)
        twin->exchange->hedging = LB_HEDGE_OVER;
    lb_twin_ready(l7, twin);
}

/* How long it waits for it, milliseconds. */
static inline uint32_t lb_twin_limit_ms(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    return exchange->hedging == LB_HEDGE_ASKS ? ((const struct lb_twin *)lb_slab_at(&l7->twins, exchange->hedge))->limit_ms : 0;
}

#endif
