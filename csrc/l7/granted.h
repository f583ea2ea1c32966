/* What a decision on a request has left with its exchange (auth_request.h). */
#ifndef LB_GRANTED_H
#define LB_GRANTED_H

#include "l7.h"
#include "verdict.h"

enum { LB_GRANTED_BYTES = 4096 }; /* of lines that such a response adds */

/* Text that a decision has left with an exchange, in a head buffer: names, each behind its length in a byte, that no client may bring to the
 * backend; then lines with their CRLF, and a NUL. Of a refusal: the lines of its local response. */
struct lb_granted {
    uint32_t names_length;
    uint32_t lines_length;
};

static inline const struct lb_granted *lb_granted_of(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    if (exchange->granted == LB_SLAB_NONE)
        return NULL;
    return (const struct lb_granted *)(const void *)lb_heads_at(l7->ctx, &l7->heads, exchange->granted);
}

static inline const char *lb_granted_names(const struct lb_granted *granted)
{
    return (const char *)(granted + 1);
}

static inline const char *lb_granted_lines(const struct lb_granted *granted)
{
    return lb_granted_names(granted) + granted->names_length;
}

/* It is not needed any more. */
void lb_granted_drop(struct lb_l7 *l7, struct lb_exchange *exchange);

/* In the place of what was there. */
void lb_granted_keep(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_granted granted, const char *names,
                     const char *lines);

/* The lines that a local response has of a refusal; NULL: none. */
static inline const char *lb_auth_lines(const struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_verdict said)
{
    const struct lb_granted *granted = said.next == LB_NEXT_RESPOND ? lb_granted_of(l7, exchange) : NULL;
    return granted && !granted->names_length ? lb_granted_lines(granted) : NULL;
}

#endif
