#include "input.h"

#include <string.h>

#include "l7.h"

char *lb_input_at(const struct lb_l7 *l7, const struct lb_input *in)
{
    return lb_heads_at(l7->ctx, &l7->heads, in->buffer);
}

int lb_input_has_begun(const struct lb_l7 *l7, const struct lb_input *in)
{
    uint32_t count = in->end - in->start;
    return count > 2 || (count && lb_input_at(l7, in)[in->start] != '\r');
}

void lb_input_drop(struct lb_l7 *l7, struct lb_input *in)
{
    if (in->buffer != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, in->buffer);
    *in = (struct lb_input){.buffer = LB_SLAB_NONE};
}

void lb_input_consume(struct lb_l7 *l7, struct lb_input *in)
{
    in->start = in->next;
    in->seen = 0;
    if (in->start == in->end)
        lb_input_drop(l7, in);
}

void lb_input_pack(struct lb_l7 *l7, struct lb_input *in)
{
    if (in->buffer == LB_SLAB_NONE) {
        in->buffer = lb_heads_take(&l7->heads);
        return;
    }
    if (!in->start)
        return;
    char *bytes = lb_input_at(l7, in);
    memmove(bytes, bytes + in->start, in->end - in->start);
    in->end -= in->start;
    in->start = in->next = 0;
}

void lb_input_fit(struct lb_l7 *l7, struct lb_input *in)
{
    uint32_t count = in->end - in->start;
    if (in->buffer == LB_SLAB_NONE || !lb_heads_is_too_large(in->buffer, count))
        return;
    struct lb_input fit = {lb_heads_take_small(&l7->heads, count), 0, in->next - in->start, count, 0};
    memcpy(lb_input_at(l7, &fit), lb_input_at(l7, in) + in->start, count);
    lb_input_drop(l7, in);
    *in = fit;
}
