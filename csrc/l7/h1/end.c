#include "end.h"

#include "../../table/account.h"
#include "../../table/clients.h"
#include "../../table/ending.h"
#include "../belongs.h"
#include "../exchanges.h"
#include "../finish.h"
#include "../stage.h"
#include "state.h"

void lb_h1_give_exchange(struct lb_l7 *l7, struct lb_h1 *h1)
{
    struct lb_exchange *exchange = h1->exchange;
    h1->in = exchange->in;
    h1->exchange = NULL;
    lb_exchange_give(l7, exchange);
}

/* --- after an exchange ------------------------------------------------------------------------------------------------ */

/* Nothing is there that a close would leave unread: that would be a reset. A client of TLS says goodbye, too. */
static int is_drained(const struct lb_exchange *exchange)
{
    const struct lb_side *side = exchange->stream[LB_CLIENT].side;
    return exchange->in.next == exchange->in.end && !side->readable && !side->tls;
}

int lb_h1_is_last(const struct lb_exchange *exchange)
{
    return exchange->stage == LB_RESPONSE_WHOLE && !exchange->persistent && lb_http_has_asked_all(exchange) &&
           is_drained(exchange);
}

struct lb_verdict lb_h1_done(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_h1 *h1 = lb_h1_of(exchange->client);
    struct lb_side *side = &h1->client.side;
    int whole = lb_http_has_asked_all(exchange), goes_on = exchange->persistent && (whole || h1->unsent);
    if (!goes_on && side->tls && lb_side_finish(side) < 0) {
        side->writable = 0;
        return lb_verdict(LB_NEXT_WAIT);
    }
    lb_http_finish(l7, exchange);
    int drained = whole && is_drained(exchange);
    lb_h1_give_exchange(l7, h1);
    h1->client.since_ms = (uint32_t)lb_now_ms(l7->ctx);
    if (goes_on)
        return lb_verdict(LB_NEXT_AGAIN);
    if (!side->tls) /* before a close, too: what waits for it must go out whatever has come meanwhile */
        (void)lb_side_finish(side);
    return drained || !lb_http_client_listener(l7, &h1->client)->lingering_time_ms ? lb_verdict_end(LB_ENDED_DONE)
                                                                                   : lb_verdict(LB_NEXT_LINGER);
}

struct lb_verdict lb_h1_linger(struct lb_l7 *l7, struct lb_h1 *h1)
{
    if (!h1->client.side.readable)
        return lb_verdict(LB_NEXT_WAIT);
    ssize_t got = lb_side_recv(&h1->client.side, l7->ctx->scratch, LB_SCRATCH_BYTES);
    if (got > 0) {
        h1->client.since_ms = (uint32_t)lb_now_ms(l7->ctx);
        return lb_verdict(LB_NEXT_AGAIN);
    }
    if (got < 0 && errno == EBUSY)
        return lb_verdict(LB_NEXT_LATER);
    if (got < 0 && errno == EAGAIN) {
        h1->client.side.readable = 0;
        return lb_verdict(LB_NEXT_WAIT);
    }
    return lb_verdict_end(LB_ENDED_DONE);
}

/* --- the end ---------------------------------------------------------------------------------------------------------- */

static void count_end(struct lb_worker_row *row, enum lb_end why)
{
    if (why == LB_ENDED_TUNNEL)
        return;
    lb_ending_count(row, why);
    lb_add(&row->active, UINT64_MAX); /* one less */
}

/* Has a response begun that is not whole? It must not be taken for a whole one. */
static int is_cut(const struct lb_exchange *exchange)
{
    return exchange && exchange->open && (exchange->stage == LB_RESPONSE_BODY || exchange->down.pending);
}

void lb_h1_end(struct lb_l7 *l7, struct lb_h1 *h1, enum lb_end why)
{
    struct lb_side side = h1->client.side;
    int reset = lb_endings[why].resets != LB_RESETS_NEVER && is_cut(h1->exchange);
    if (h1->exchange) {
        lb_http_break_off(l7, h1->exchange, why);
        lb_h1_give_exchange(l7, h1);
    }
    lb_conn_drop_own(&l7->conns, &h1->client.own);
    lb_proxy_info_drop(&l7->ctx->proxy_info, h1->client.proxy_info);
    lb_client_leave(&l7->ctx->shm, l7->ctx->worker, h1->client.counted);
    h1->client.counted = 0;
    lb_input_drop(l7, &h1->in);
    lb_h1_move(l7, h1, LB_H1_FREE);
    h1->client.generation++;
    count_end(l7->ctx->row, why);
    /* last: whoever sees the end finds it counted */
    if (why != LB_ENDED_TUNNEL)
        lb_side_close(&side, reset);
    if (!h1->client.queued) /* else the list gives it back */
        lb_slab_give(&l7->clients, lb_h1_index(l7, h1));
}

/* With it ends all that its connection carries: that one exchange. */
void lb_h1_reset(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_end why)
{
    lb_h1_end(l7, lb_h1_of(exchange->client), why);
}
