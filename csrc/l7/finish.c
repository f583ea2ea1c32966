#include "finish.h"

#include "../table/account.h"
#include "belongs.h"
#include "charge.h"
#include "exchanges.h"
#include "request_log.h"
#include "stage.h"

static void leave(struct lb_l7 *l7, struct lb_exchange *exchange, int whole)
{
    if (exchange->open)
        lb_http_log(l7, exchange, LB_ENDED_DONE, exchange->status, NULL);
    lb_http_leave_backend(l7, exchange, !whole ? LB_CONN_CUT : exchange->conn_keeps ? LB_CONN_KEEP : LB_CONN_PART);
    if (exchange->open)
        lb_ending_count_request(l7->ctx->row, LB_ENDED_DONE);
    exchange->open = 0;
    if (exchange->in.buffer != LB_SLAB_NONE)
        lb_input_consume(l7, &exchange->in);
}

struct lb_verdict lb_http_finish(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_h1 *h1 = lb_h1_of(exchange->client);
    int whole = lb_http_has_asked_all(exchange), goes_on = exchange->persistent && (whole || h1->unsent);
    if (!goes_on && h1->client.side.tls && lb_side_finish(&h1->client.side) < 0) {
        h1->client.side.writable = 0;
        return lb_verdict(LB_NEXT_WAIT);
    }
    leave(l7, exchange, whole);
    int drained = whole && lb_http_is_drained(exchange);
    lb_exchange_give(l7, exchange);
    h1->client.since_ms = (uint32_t)lb_now_ms(l7->ctx);
    if (goes_on)
        return lb_verdict(LB_NEXT_AGAIN);
    if (!h1->client.side.tls) /* before a close, too: what waits for it must go out whatever has come meanwhile */
        (void)lb_side_finish(&h1->client.side);
    return drained || !lb_http_client_listener(l7, &h1->client)->lingering_time_ms ? lb_verdict_end(LB_ENDED_DONE)
                                                                                   : lb_verdict(LB_NEXT_LINGER);
}
