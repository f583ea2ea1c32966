/* How far an exchange has come. */
#ifndef LB_STAGE_H
#define LB_STAGE_H

#include "exchange.h"

/* Has all of the request gone out? */
static inline int lb_http_has_asked_all(const struct lb_exchange *exchange)
{
    return exchange->request.whole && !exchange->up.pending;
}

/* Has not a byte come of what was asked for? */
static inline int lb_http_is_silent(const struct lb_exchange *exchange)
{
    return exchange->stage == LB_RESPONSE_AWAITED && !exchange->parts && !exchange->part_end && !exchange->down.pending;
}

/* Has the client got a byte of the response, or one of an interim response that it did not take whole? Then nothing of our own fits
 * behind it. */
static inline int lb_http_is_answered(const struct lb_exchange *exchange)
{
    return exchange->stage != LB_RESPONSE_AWAITED || exchange->down.pending;
}

#endif
