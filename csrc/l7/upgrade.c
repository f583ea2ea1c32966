#include "upgrade.h"

#include <string.h>

#include "../l4/backend_report.h"
#include "../l4/session.h"
#include "../table/account.h"
#include "bad_response.h"
#include "belongs.h"
#include "bound.h"
#include "h1_encode.h"
#include "input.h"
#include "part.h"
#include "request_log.h"
#include "stage.h"

/* The backend agrees to it before it has the whole request: its 101 waits. What follows that is not read meanwhile. */
static struct lb_verdict await_request(struct lb_l7 *l7, struct lb_http *client, const char *bytes, uint32_t count)
{
    lb_http_keep_part(l7, client, bytes, count);
    client->switching = 1;
    return lb_verdict(LB_NEXT_AGAIN);
}

struct lb_verdict lb_http_switch_protocols(struct lb_l7 *l7, struct lb_http *client, const char *bytes, uint32_t count)
{
    struct lb_message *message = &l7->message;
    char cookie[LB_COOKIE_BYTES];
    struct lb_response_edits edits = {
        .client_minor = 1, .switches = 1, .date = lb_date_text(&l7->date), .cookie = client->sticky_new ? cookie : NULL};
    if (!client->upgrade || client->down.pending)
        return lb_http_bad_response(l7, client, LB_READ_BAD);
    if (!lb_http_has_asked_all(client))
        return await_request(l7, client, bytes, count);
    if (client->sticky_new)
        lb_http_sticky_cookie(l7, client, cookie);
    size_t head = lb_encode_response(l7->out, message, bytes, &edits);
    memcpy(l7->out + head, bytes + message->head.bytes, count - message->head.bytes);
    head += count - message->head.bytes;
    uint32_t early = client->in != LB_SLAB_NONE ? client->in_end - client->in_next : 0;
    if (head > LB_BUFFER_BYTES || early > LB_BUFFER_BYTES)
        return lb_http_no_buffer(l7, client); /* a session holds no more */
    lb_add(&l7->ctx->row->responses_1xx, 1);
    lb_report_responded(l7->ctx, client->backend, (uint32_t)l7->ctx->now_us - client->sent_us);
    struct lb_conn *conn = lb_http_conn(l7, client);
    struct lb_tunnel child = {
        .client = client->client,
        .server = conn->side,
        .backend = client->backend,
        .cost = client->cost,
        .decision = client->decision,
        .pool = client->pool,
        .listener = client->listener,
        .counted = client->counted,
        .port = client->port,
        .from_client = early ? lb_http_in(l7, client) + client->in_next : NULL,
        .from_client_count = early,
        .from_server = l7->out,
        .from_server_count = (uint32_t)head,
    };
    memcpy(child.ip, client->ip, sizeof child.ip);
    if (lb_session_tunnel(l7->ctx, &child) < 0)
        return lb_http_no_place(l7, client, "the balancer has no session left");
    lb_add(&l7->ctx->row->upgrades, 1);
    client->first_us = lb_account_us(client->began_us, l7->ctx->now_us);
    lb_http_log(l7, client, LB_ENDED_DONE, 101, NULL);
    lb_http_drop_part(l7, client);
    client->conn = LB_SLAB_NONE;
    client->backend = LB_NONE;
    client->counted = 0; /* the session's now */
    lb_conn_forget(&l7->conns, conn);
    return lb_verdict_end(LB_END_TUNNEL);
}
