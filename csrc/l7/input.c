#include "input.h"

#include <string.h>

int lb_http_has_begun(const struct lb_l7 *l7, const struct lb_http *client)
{
    uint32_t count = client->in_end - client->in_start;
    return count > 2 || (count && lb_http_in(l7, client)[client->in_start] != '\r');
}

void lb_http_drop_in(struct lb_l7 *l7, struct lb_http *client)
{
    if (client->in != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, client->in);
    client->in = LB_SLAB_NONE;
    client->in_start = client->in_next = client->in_end = client->in_seen = 0;
}

void lb_http_consume(struct lb_l7 *l7, struct lb_http *client)
{
    client->in_start = client->in_next;
    client->in_seen = 0;
    if (client->in_start == client->in_end)
        lb_http_drop_in(l7, client);
}

void lb_http_reread(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_head_limits limits = {LB_MOST_HEAD, LB_MOST_HEAD, LB_FIELD_ROOM}; /* it has passed the listener's */
    const char *bytes = lb_http_in(l7, client) + client->in_start;
    if (lb_message_request(&l7->message, bytes, client->in_end - client->in_start, &limits) != LB_READ_DONE)
        __builtin_trap(); /* the same bytes were read well before */
}

void lb_http_pack(struct lb_l7 *l7, struct lb_http *client)
{
    if (client->in == LB_SLAB_NONE) {
        client->in = lb_heads_take(&l7->heads);
        return;
    }
    if (!client->in_start)
        return;
    char *in = lb_http_in(l7, client);
    memmove(in, in + client->in_start, client->in_end - client->in_start);
    client->in_end -= client->in_start;
    client->in_start = 0;
}
