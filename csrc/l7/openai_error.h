/* Our own errors as clients of OpenAI's API read them: {"error": {"message", "type", "param", "code"}}. */
#ifndef LB_OPENAI_ERROR_H
#define LB_OPENAI_ERROR_H

#include "belongs.h"
#include "verdict.h"

/* Is the client of this exchange told errors so? Its pool says it, or else its listener. */
static inline int lb_http_tells_openai(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    uint32_t pool = exchange->routed ? lb_http_pool(l7, exchange)->error_format : LB_ERRORS_AS_LISTENER;
    return (pool != LB_ERRORS_AS_LISTENER ? pool : lb_http_listener(l7, exchange)->error_format) == LB_ERRORS_OPENAI;
}

/* The body of a response with this status, of 400 and above: its length. why: in words without quotes or backslashes. */
size_t lb_openai_error(char *body, size_t room, uint16_t status, enum lb_error_code code, const char *why);

#endif
