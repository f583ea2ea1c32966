#include "upload.h"

struct lb_verdict lb_http_take_more(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->request.whole)
        return lb_verdict(LB_NEXT_WAIT);
    return exchange->stream[LB_CLIENT].ops->more(l7, exchange, 0);
}

struct lb_verdict lb_http_is_there(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_verdict more = lb_verdict(LB_NEXT_WAIT);
    if (exchange->request.whole)
        return more;
    more = exchange->stream[LB_CLIENT].ops->more(l7, exchange, 1);
    while (more.next == LB_NEXT_AGAIN)
        more = lb_http_take_more(l7, exchange);
    return more.next == LB_NEXT_LATER ? lb_verdict(LB_NEXT_WAIT) : more;
}
