#include "http_twins.h"

#include "auth_request.h"
#include "belongs.h"
#include "deadline.h"
#include "drive.h"
#include "hedge.h"
#include "twin.h"

enum { STEPS = 32 }; /* of one in a turn */

int lb_twins_open(struct lb_l7 *l7)
{
    l7->twins_ready = LB_SLAB_NONE;
    return lb_slab_open(&l7->twins, sizeof(struct lb_twin), LB_TWINS);
}

void lb_twins_close(struct lb_l7 *l7)
{
    lb_slab_close(&l7->twins);
}

/* The exchange that has the response now goes on with what it came to; what that one had of its backend ends with the twin. */
static struct lb_verdict hand_over(struct lb_l7 *l7, struct lb_exchange *twin, uint32_t number)
{
    struct lb_exchange *exchange = lb_http_at(l7, number);
    struct lb_verdict won = l7->won;
    twin->stream[LB_CLIENT].ops->reset(l7, twin, LB_ENDED_CLIENT);
    l7->obey(l7, exchange, won);
    return lb_verdict(LB_NEXT_OVER);
}

/* A response of our own is for nobody, and neither is a buffer waited for. */
static enum lb_next obey(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_verdict said)
{
    while (lb_verdict_decides(said) || said.next == LB_NEXT_STARVED) {
        if (said.next == LB_NEXT_WON)
            said = hand_over(l7, exchange, said.number);
        if (said.next == LB_NEXT_RESPOND || said.next == LB_NEXT_STARVED)
            said = lb_verdict_end(LB_ENDED_BACKEND);
        said = lb_drive(l7, exchange, said);
    }
    return (enum lb_next)said.next;
}

/* The first step finds a backend. */
static struct lb_verdict step(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->hedging == LB_HEDGE_OVER)
        return lb_verdict_end(LB_ENDED_CLIENT);
    if (exchange->state != LB_EXCHANGE_BEGUN)
        return lb_drive_step(l7, exchange);
    if (exchange->hedging == LB_HEDGE_TWIN)
        return lb_hedge_begin(l7, exchange);
    lb_http_recall(l7, exchange);
    return lb_verdict(LB_NEXT_ATTEMPT);
}

void lb_twin_run(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_twin *twin = lb_twin_of(exchange->client);
    enum lb_next next = LB_NEXT_AGAIN;
    for (int i = 0; next == LB_NEXT_AGAIN && i < STEPS; i++)
        next = obey(l7, exchange, step(l7, exchange));
    if (next == LB_NEXT_WAIT)
        lb_http_rearm(l7, exchange);
    else if (next != LB_NEXT_OVER)
        lb_twin_ready(l7, twin);
}

void lb_twin_obey(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_verdict said)
{
    if (obey(l7, exchange, said) == LB_NEXT_AGAIN)
        lb_twin_run(l7, exchange);
}

/* What it was asked has an answer, or never will: the exchange that waits for it goes on. */
static void answer(struct lb_l7 *l7, struct lb_twin *twin)
{
    struct lb_exchange *exchange = lb_http_at(l7, twin->asker);
    struct lb_verdict said = lb_auth_said(l7, twin);
    exchange->hedging = LB_HEDGE_NONE;
    twin->asker = LB_SLAB_NONE;
    exchange->authorized = said.next == LB_NEXT_GRANTED;
    l7->obey(l7, exchange, said);
}

void lb_twins_turn(struct lb_l7 *l7)
{
    uint32_t index = l7->twins_ready;
    l7->twins_ready = LB_SLAB_NONE;
    while (index != LB_SLAB_NONE) {
        struct lb_twin *twin = lb_slab_at(&l7->twins, index);
        index = twin->client.next;
        twin->client.queued = 0;
        if (twin->asker != LB_SLAB_NONE && (twin->said.next != LB_NEXT_WAIT || !twin->exchange))
            answer(l7, twin);
        if (!twin->exchange) /* ended while it was listed */
            lb_slab_give(&l7->twins, lb_slab_index(&l7->twins, twin));
        else
            lb_twin_run(l7, twin->exchange);
    }
}

void lb_twins_stop(struct lb_l7 *l7)
{
    for (uint32_t i = 0; i < l7->twins.touched; i++) {
        struct lb_twin *twin = lb_slab_at(&l7->twins, i);
        if (twin->exchange)
            lb_twin_obey(l7, twin->exchange, lb_verdict_end(LB_ENDED_STOPPED));
    }
}
