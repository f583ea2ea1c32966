#include "interim.h"

#include "belongs.h"
#include "min_rate.h"

/* Many clients take any 1xx but 100 for the response itself, and the response for that to their next request. Browsers know better
 * (W3C Fetch Metadata: Sec-Fetch-Mode), and others who are told to be here. */
static int takes_interim(const struct lb_l7 *l7, const struct lb_exchange *exchange, uint16_t status)
{
    if (!exchange->minor) /* RFC 9110 15.2 */
        return 0;
    if (status == 100)
        return 1;
    switch ((enum lb_early_hints)lb_http_listener(l7, exchange)->early_hints) {
    case LB_HINTS_BROWSERS:
        return exchange->navigates;
    case LB_HINTS_ALWAYS:
        return 1;
    case LB_HINTS_NEVER:
        return 0;
    }
    return 0;
}

int lb_http_pass_interim(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes)
{
    struct lb_head_out out = {.bytes = bytes};
    uint16_t status = l7->message.head.status;
    if (exchange->expects && status == 100) { /* now its body comes, or is late */
        exchange->expects = 0;
        lb_http_asked(l7, exchange);
        lb_http_excuse(exchange);
    }
    if (!takes_interim(l7, exchange, status))
        return 0;
    lb_add(&l7->ctx->row->responses_1xx, 1);
    return exchange->stream[LB_CLIENT].ops->head(l7, exchange, &out) == LB_STEP_MOVED ? 0 : -1;
}
