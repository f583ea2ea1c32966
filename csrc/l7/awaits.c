#include "awaits.h"

#include "belongs.h"

enum lb_awaits lb_http_awaits(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    const struct lb_side *backend = &lb_http_conn(l7, exchange)->side;
    int goes_up = (!exchange->request.whole || exchange->up.pending) && !backend->failed && !lb_h1_of(exchange->client)->unsent;
    if (exchange->down.pending || exchange->stage == LB_RESPONSE_WHOLE)
        return LB_AWAITS_TAKER;
    if (goes_up && (exchange->up.pending || (exchange->client->side.readable && !backend->writable)))
        return LB_AWAITS_UPLOAD;
    if (goes_up && !(exchange->expects && exchange->stage == LB_RESPONSE_AWAITED))
        return LB_AWAITS_SENDER;
    return exchange->stage == LB_RESPONSE_AWAITED ? LB_AWAITS_HEAD : LB_AWAITS_BODY;
}
