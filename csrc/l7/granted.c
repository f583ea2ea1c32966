#include "granted.h"

#include <string.h>

void lb_granted_drop(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->granted != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, exchange->granted);
    exchange->granted = LB_SLAB_NONE;
}

void lb_granted_keep(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_granted granted, const char *names,
                     const char *lines)
{
    lb_granted_drop(l7, exchange);
    exchange->granted =
        lb_heads_take_small(&l7->heads, (uint32_t)sizeof granted + granted.names_length + granted.lines_length + 1);
    char *to = lb_heads_at(l7->ctx, &l7->heads, exchange->granted);
    to = mempcpy(to, &granted, sizeof granted);
    to = mempcpy(to, names, granted.names_length);
    to = mempcpy(to, lines, granted.lines_length);
    *to = 0;
}
