/* 101: both connections of an exchange go on as a session. */
#include <string.h>

#include "../l4/backend_report.h"
#include "../table/account.h"
#include "parts.h"

/* What the backend agreed to cannot be had here, which is not its fault. */
static enum lb_next cannot_tunnel(struct lb_l7 *l7, struct lb_http *client)
{
    lb_http_decided(l7, client, LB_FATE_ENDED);
    lb_http_drop_part(l7, client);
    return lb_http_respond(l7, client, 503, "the balancer has no session left");
}

/* The backend agrees to it before it has the whole request: its 101 waits. What follows that is not read meanwhile. */
static enum lb_next await_request(struct lb_l7 *l7, struct lb_http *client, const char *bytes, uint32_t count)
{
    lb_http_keep_part(l7, client, bytes, count);
    client->switching = 1;
    return LB_NEXT_AGAIN;
}

/* 101: both connections go on as a session. */
enum lb_next lb_http_switch_protocols(struct lb_l7 *l7, struct lb_http *client, const char *bytes, uint32_t count)
{
    struct lb_message *message = &l7->message;
    char cookie[LB_COOKIE_BYTES];
    struct lb_response_edits edits = {
        .client_minor = 1, .switches = 1, .date = lb_http_date(l7), .cookie = client->sticky_new ? cookie : NULL};
    if (!client->upgrade || client->down.pending)
        return lb_http_response_is_bad(l7, client);
    if (!client->request.whole || client->up.pending)
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
        return cannot_tunnel(l7, client);
    lb_add(&l7->ctx->row->upgrades, 1);
    client->first_us = lb_account_us(client->began_us, l7->ctx->now_us);
    lb_http_log(l7, client, LB_ENDED_DONE, 101, NULL);
    lb_http_drop_part(l7, client);
    client->conn = LB_SLAB_NONE;
    client->backend = LB_NONE;
    client->counted = 0; /* the session's now */
    lb_conn_forget(&l7->conns, conn);
    return lb_http_end(l7, client, LB_END_TUNNEL);
}

enum lb_next lb_http_switch(struct lb_l7 *l7, struct lb_http *client)
{
    client->switching = 0;
    return lb_http_read_response(l7, client, lb_heads_at(l7->ctx, &l7->heads, client->part), client->part_end);
}
