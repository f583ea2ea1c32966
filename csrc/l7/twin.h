/* A twin: an exchange of our own beside a client's, with a copy of its request, which has come whole. It has no connection to answer to: this
 * is its client. What a copy of a request is good for, those who make one say (mirror.h). */
#ifndef LB_TWIN_H
#define LB_TWIN_H

#include "l7.h"

enum { LB_TWINS = 256 }; /* under way at once, of one worker */

struct lb_twin {
    struct lb_http_client client; /* first. next, queued: in the list of those to run */
    struct lb_exchange *exchange; /* NULL: it is over, and the list gives it back */
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

#endif
