/* How long a client is read from that has got its last response, so that a reset does not overtake it (RFC 9112 9.6). */
#ifndef LB_LINGER_H
#define LB_LINGER_H

#include "belongs.h"

enum { LB_SHORT_LINGER_MS = 2000 };

/* since linger_ms (monotonic, low 32 bits). Each wait for more has a limit, and all of them together. */
static inline uint32_t lb_http_linger_left_ms(const struct lb_l7 *l7, const struct lb_http_client *client, uint32_t linger_ms,
                                              int is_short)
{
    const struct lb_listener_row *listener = lb_http_client_listener(l7, client);
    uint32_t whole_ms = listener->lingering_time_ms;
    if (is_short && whole_ms > LB_SHORT_LINGER_MS)
        whole_ms = LB_SHORT_LINGER_MS;
    uint32_t whole = lb_left_ms(l7->ctx, linger_ms, whole_ms);
    uint32_t left = lb_left_ms(l7->ctx, client->since_ms, listener->lingering_timeout_ms);
    return whole < left ? whole : left;
}

#endif
