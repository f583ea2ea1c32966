#include "upgrade.h"

#include <string.h>

#include "../../l4/backend_report.h"
#include "../../l4/session.h"
#include "../../table/account.h"
#include "../bad_response.h"
#include "../belongs.h"
#include "../bound.h"
#include "../edits.h"
#include "encode.h"
#include "../input.h"
#include "../part.h"
#include "../request_log.h"
#include "../stage.h"

/* The backend agrees to it before it has the whole request: its 101 waits. What follows that is not read meanwhile. */
static struct lb_verdict await_request(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, uint32_t count)
{
    lb_http_keep_part(l7, exchange, bytes, count);
    exchange->switching = 1;
    return lb_verdict(LB_NEXT_AGAIN);
}

struct lb_verdict lb_http_switch_protocols(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, uint32_t count)
{
    struct lb_message *message = &l7->message;
    char cookie[LB_COOKIE_BYTES];
    struct lb_response_edits edits = {.client_minor = 1,
                                      .switches = 1,
                                      .date = lb_date_text(&l7->date),
                                      .cookie = exchange->sticky_new ? cookie : NULL,
                                      .edited = lb_edits_of_response(l7, exchange),
                                      .backend = lb_http_backend_address(l7, exchange)};
    if (!exchange->upgrade || exchange->down.pending)
        return lb_http_bad_response(l7, exchange, LB_READ_BAD);
    if (!lb_http_has_asked_all(exchange))
        return await_request(l7, exchange, bytes, count);
    if (exchange->sticky_new)
        lb_http_sticky_cookie(l7, exchange, cookie);
    size_t head = lb_encode_response(l7->out, message, bytes, &edits);
    memcpy(l7->out + head, bytes + message->head.bytes, count - message->head.bytes);
    head += count - message->head.bytes;
    uint32_t early = exchange->in.buffer != LB_SLAB_NONE ? exchange->in.end - exchange->in.next : 0;
    if (head > LB_BUFFER_BYTES || early > LB_BUFFER_BYTES)
        return lb_http_no_buffer(l7, exchange); /* a session holds no more */
    lb_add(&l7->ctx->row->responses_1xx, 1);
    lb_report_responded(l7->ctx, exchange->backend, (uint32_t)l7->ctx->now_us - exchange->sent_us);
    struct lb_conn *conn = lb_http_conn(l7, exchange);
    struct lb_tunnel child = {
        .client = exchange->client->side,
        .server = conn->side,
        .backend = exchange->backend,
        .cost = exchange->cost,
        .decision = exchange->decision,
        .pool = exchange->pool,
        .listener = exchange->client->listener,
        .counted = exchange->client->counted,
        .port = exchange->client->port,
        .from_client = early ? lb_input_at(l7, &exchange->in) + exchange->in.next : NULL,
        .from_client_count = early,
        .from_server = l7->out,
        .from_server_count = (uint32_t)head,
    };
    memcpy(child.ip, exchange->client->ip, sizeof child.ip);
    if (lb_session_tunnel(l7->ctx, &child) < 0)
        return lb_http_no_place(l7, exchange, "the balancer has no session left");
    lb_add(&l7->ctx->row->upgrades, 1);
    exchange->first_us = lb_account_us(exchange->began_us, l7->ctx->now_us);
    lb_http_log(l7, exchange, LB_ENDED_DONE, 101, NULL);
    lb_http_drop_part(l7, exchange);
    exchange->conn = LB_SLAB_NONE;
    exchange->backend = LB_NONE;
    exchange->client->counted = 0; /* the session's now */
    lb_conn_forget(&l7->conns, conn);
    return lb_verdict_end(LB_ENDED_TUNNEL);
}
