#include "awaits.h"

#include "belongs.h"

/* Its client has more of it, and its backend takes none. */
static int is_blocked_by_backend(const struct lb_exchange *exchange)
{
    return lb_http_client_can(exchange, LB_CAN_READ) && !lb_http_backend_can(exchange, LB_CAN_SEND);
}

enum lb_awaits lb_http_awaits(const struct lb_exchange *exchange)
{
    int goes_up = (!exchange->request.whole || exchange->up.pending) && !exchange->deaf && !exchange->withheld;
    if (exchange->down.pending || exchange->stage == LB_RESPONSE_WHOLE)
        return LB_AWAITS_TAKER;
    if (goes_up && (exchange->up.pending || is_blocked_by_backend(exchange)))
        return LB_AWAITS_UPLOAD;
    if (goes_up && !(exchange->expects && exchange->stage == LB_RESPONSE_AWAITED))
        return LB_AWAITS_SENDER;
    return exchange->stage == LB_RESPONSE_AWAITED ? LB_AWAITS_HEAD : LB_AWAITS_BODY;
}
