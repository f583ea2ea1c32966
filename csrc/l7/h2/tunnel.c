#include "tunnel.h"

#include "../../l4/backend_report.h"
#include "../../table/account.h"
#include "../bad_response.h"
#include "../belongs.h"
#include "../bound.h"
#include "../edits.h"
#include "../input.h"
#include "../part.h"
#include "client_send.h"

/* The request is out; nothing of it is needed any more. */
static void begin(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    exchange->tunnel = 1;
    exchange->conn_keeps = exchange->replayable = exchange->kept = 0;
    exchange->request = (struct lb_body){.framing = LB_BODY_TO_END};
    exchange->response = (struct lb_body){.framing = LB_BODY_TO_END};
    exchange->status = 101;
    exchange->first_us = lb_account_us(exchange->began_us, l7->ctx->now_us);
    if (exchange->in.buffer != LB_SLAB_NONE)
        lb_input_consume(l7, &exchange->in);
    lb_add(&l7->ctx->row->upgrades, 1);
    lb_add(&l7->ctx->row->responses_2xx, 1);
    lb_report_responded(l7->ctx, exchange->backend, (uint32_t)l7->ctx->now_us - exchange->sent_us);
}

struct lb_verdict lb_h2_switched(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, uint32_t count)
{
    uint32_t head = l7->message.head.bytes;
    char cookie[LB_COOKIE_BYTES];
    struct lb_h2_edits edits = {.date = lb_date_text(&l7->date),
                                .status = 200,
                                .http2 = exchange->stream[LB_BACKEND].http2,
                                .edited = lb_edits_of_response(l7, exchange),
                                .backend = lb_http_backend_address(l7, exchange)};
    if (!exchange->upgrade)
        return lb_http_bad_response(l7, exchange, LB_READ_BAD);
    if (exchange->sticky_new) {
        lb_http_sticky_cookie(l7, exchange, cookie);
        edits.cookie = cookie;
    }
    /* RFC 8441 5: 200 says what 101 does */
    begin(l7, exchange);
    enum lb_step step = lb_h2_send_head(l7, lb_h2_stream_of(exchange), bytes, &edits, 0);
    exchange->stage = LB_RESPONSE_BODY;
    if (step == LB_STEP_MOVED)
        step = lb_h2_send(l7, exchange, bytes + head, count - head);
    lb_http_drop_part(l7, exchange);
    lb_edits_drop(l7, exchange);
    return step == LB_STEP_TO_FAILED ? lb_verdict_end(LB_ENDED_CLIENT) : lb_verdict(LB_NEXT_AGAIN);
}
