#include "part.h"

#include <string.h>

void lb_http_keep_part(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, uint32_t count)
{
    if (exchange->part == LB_SLAB_NONE)
        exchange->part = lb_heads_take(&l7->heads);
    memmove(lb_http_part(l7, exchange), bytes, count);
    exchange->part_end = count;
}

void lb_http_keep_more(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, uint32_t count)
{
    if (exchange->part == LB_SLAB_NONE)
        exchange->part = lb_heads_take(&l7->heads);
    memmove(lb_http_part(l7, exchange) + exchange->part_end, bytes, count);
    exchange->part_end += count;
}

void lb_http_drop_part(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->part != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, exchange->part);
    exchange->part = LB_SLAB_NONE;
    exchange->part_end = 0;
}
