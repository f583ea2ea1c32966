#include "part.h"

#include <string.h>

void lb_http_keep_part(struct lb_l7 *l7, struct lb_http *client, const char *bytes, uint32_t count)
{
    if (client->part == LB_SLAB_NONE)
        client->part = lb_heads_take(&l7->heads);
    memmove(lb_http_part(l7, client), bytes, count);
    client->part_end = count;
}

void lb_http_drop_part(struct lb_l7 *l7, struct lb_http *client)
{
    if (client->part != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, client->part);
    client->part = LB_SLAB_NONE;
    client->part_end = 0;
}
