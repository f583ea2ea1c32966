/* 101: both connections of an exchange go on as a session. */
#include <string.h>

#include "../l4/outcome.h"
#include "../table/account.h"
#include "parts.h"

/* What the backend agreed to cannot be had here, which is not its fault. */
static enum lb_next cannot_adopt(struct lb_l7 *l7, struct lb_http *client)
{
    lb_http_decided(l7, client, LB_FATE_ENDED);
    lb_http_drop_part(l7, client);
    return lb_http_answer(l7, client, 503, "the balancer has no session left");
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
    struct lb_farewell farewell = {
        .client_minor = 1, .switches = 1, .date = lb_http_date(l7), .cookie = client->sticky_new ? cookie : NULL};
    if (!client->upgrade || client->down.pending)
        return lb_http_answer_is_bad(l7, client);
    if (!client->request.whole || client->up.pending)
        return await_request(l7, client, bytes, count);
    if (client->sticky_new)
        lb_http_sticky_cookie(l7, client, cookie);
    size_t head = lb_compose_answer(l7->out, message, bytes, &farewell);
    memcpy(l7->out + head, bytes + message->head.bytes, count - message->head.bytes);
    head += count - message->head.bytes;
    uint32_t early = client->in != LB_SLAB_NONE ? client->in_end - client->in_next : 0;
    if (head > LB_BUFFER_BYTES || early > LB_BUFFER_BYTES)
        return lb_http_no_buffer(l7, client); /* a session holds no more */
    lb_add(&l7->plane->row->answers_1xx, 1);
    lb_outcome_answered(l7->plane, client->backend, (uint32_t)l7->plane->now_us - client->sent_us);
    struct lb_conn *conn = lb_http_conn(l7, client);
    struct lb_adoption child = {
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
    if (lb_session_adopt(l7->plane, &child) < 0)
        return cannot_adopt(l7, client);
    lb_add(&l7->plane->row->upgrades, 1);
    client->first_us = lb_account_us(client->began_us, l7->plane->now_us);
    lb_http_tell(l7, client, LB_ENDED_DONE, 101, NULL);
    lb_http_drop_part(l7, client);
    client->conn = LB_SLAB_NONE;
    client->backend = LB_NONE;
    client->counted = 0; /* the session's now */
    lb_conn_forget(&l7->conns, conn);
    return lb_http_end(l7, client, LB_END_ADOPTED);
}

enum lb_next lb_http_switch(struct lb_l7 *l7, struct lb_http *client)
{
    client->switching = 0;
    return lb_http_read_answer(l7, client, lb_heads_at(l7->plane, &l7->heads, client->part), client->part_end);
}
