#include "kept.h"

#include <string.h>

#include "input.h"

void lb_http_keep_copy(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, size_t count)
{
    struct lb_input *in = &exchange->in;
    if (!exchange->kept)
        return;
    if (count <= lb_heads_room(in->buffer) - in->end) {
        memcpy(lb_input_at(l7, in) + in->end, bytes, count);
        in->next = in->end += (uint32_t)count;
        return;
    }
    exchange->kept = 0;
    lb_input_consume(l7, in);
}
