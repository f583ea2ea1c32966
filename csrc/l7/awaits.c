#include "awaits.h"

enum lb_awaits lb_http_awaits(const struct lb_exchange *exchange)
{
    int goes_up = (!exchange->request.whole || exchange->up.pending) && !exchange->deaf && !exchange->withheld;
    if (exchange->tunnel && !exchange->down.pending && !exchange->up.pending)
        return LB_AWAITS_BODY;
    if (exchange->down.pending || exchange->stage == LB_RESPONSE_WHOLE)
        return LB_AWAITS_TAKER;
    enum lb_awaits response = exchange->stage == LB_RESPONSE_AWAITED ? LB_AWAITS_HEAD : LB_AWAITS_BODY;
    if (!goes_up)
        return response;
    if (exchange->grpc && !exchange->up.pending && !exchange->stalled)
        return LB_AWAITS_BODY; /* of a call with several messages, both ends may be silent */
    if (exchange->up.pending || exchange->stalled)
        return LB_AWAITS_UPLOAD;
    return exchange->expects && response == LB_AWAITS_HEAD ? response : LB_AWAITS_SENDER;
}
