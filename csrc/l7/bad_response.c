#include "bad_response.h"

#include "charge.h"
#include "part.h"

struct lb_verdict lb_http_bad_response(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_reading reading)
{
    lb_add(&l7->ctx->row->responses_bad, 1);
    exchange->reused = 0; /* not the race of an old connection */
    exchange->parts = 1;
    return lb_verdict_lost(502, reading == LB_READ_HEAD_LARGE ? "the head of the backend's response is too large"
                                                              : "the backend's response breaks the rules of HTTP");
}

struct lb_verdict lb_http_no_place(struct lb_l7 *l7, struct lb_exchange *exchange, const char *why)
{
    lb_http_decided(l7, exchange, LB_ENDED_NO_BUFFER);
    lb_http_drop_part(l7, exchange);
    return lb_verdict_respond(503, why);
}

struct lb_verdict lb_http_no_buffer(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    return lb_http_no_place(l7, exchange, "the balancer has no buffer left");
}
