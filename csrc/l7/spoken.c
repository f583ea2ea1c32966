#include "spoken.h"

#include "../l4/backend_report.h"
#include "../l4/backend_tls.h"
#include "belongs.h"

int lb_http_may_be_either(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    const struct lb_pool_row *pool = lb_http_pool(l7, exchange);
    return pool->tls && pool->protocol == LB_BACKEND_AUTO && !pool->send_proxy && !exchange->upgrade && !exchange->only_http1 &&
           !exchange->client->own.count;
}

const char *lb_http_offer(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    if (lb_http_pool(l7, exchange)->protocol != LB_BACKEND_AUTO)
        return NULL;
    return lb_http_may_be_either(l7, exchange) ? LB_OFFER_ANY : LB_OFFER_HTTP1;
}

/* A pool that leaves the choice. A connection that begins with a PROXY header is a client's own. */
static struct lb_spoken choose(struct lb_l7 *l7, const struct lb_exchange *exchange, const struct lb_pool_row *pool)
{
    if (exchange->grpc && !pool->send_proxy)
        return (struct lb_spoken){LB_SPEAKS_HTTP2, LB_SPOKEN_BY_CALL};
    if (!pool->tls)
        return (struct lb_spoken){LB_SPEAKS_HTTP1, LB_SPOKEN_BY_DEFAULT};
    if (!lb_http_may_be_either(l7, exchange))
        return (struct lb_spoken){LB_SPEAKS_HTTP1, LB_SPOKEN_BY_NEED};
    uint8_t speaks = lb_report_of(l7->ctx, exchange->backend)->speaks;
    return speaks ? (struct lb_spoken){speaks, LB_SPOKEN_BY_ALPN} : (struct lb_spoken){LB_SPEAKS_HTTP1, LB_SPOKEN_BY_OFFER};
}

struct lb_spoken lb_http_spoken(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    const struct lb_pool_row *pool = lb_http_pool(l7, exchange);
    switch ((enum lb_backend_protocol)pool->protocol) {
    case LB_BACKEND_AUTO:
        return choose(l7, exchange, pool);
    case LB_BACKEND_HTTP1:
        return (struct lb_spoken){LB_SPEAKS_HTTP1, LB_SPOKEN_BY_POOL};
    case LB_BACKEND_HTTP2:
        return (struct lb_spoken){LB_SPEAKS_HTTP2, LB_SPOKEN_BY_POOL};
    }
    return (struct lb_spoken){LB_SPEAKS_HTTP1, LB_SPOKEN_BY_POOL};
}
