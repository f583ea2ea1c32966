#include "openai_error.h"

#include <stdio.h>

/* What programs tell errors apart by, where the status does not say it alone. */
static const char *name_of(uint16_t status, enum lb_error_code code)
{
    switch (code) {
    case LB_ERROR_BY_STATUS:
        break;
    case LB_ERROR_QUEUE_FULL:
        return "queue_full";
    case LB_ERROR_QUEUE_TIMEOUT:
        return "queue_timeout";
    case LB_ERROR_NO_BACKEND:
        return "no_backend";
    case LB_ERROR_TOTAL_TIMEOUT:
        return "total_timeout";
    }
    switch (status) {
    case 403:
        return "forbidden";
    case 404:
        return "not_found";
    case 408:
        return "request_timeout";
    case 413:
        return "request_too_large";
    case 429:
        return "rate_limit_exceeded";
    case 502:
        return "backend_failed";
    case 503:
        return "overloaded";
    case 504:
        return "backend_timeout";
    default:
        return status < 500 ? "bad_request" : "server_error";
    }
}

static const char *type_of(uint16_t status)
{
    if (status == 429)
        return "requests"; /* what OpenAI says of limits that are not of tokens */
    if (status == 403)
        return "permission_error";
    return status < 500 ? "invalid_request_error" : "server_error";
}

size_t lb_openai_error(char *body, size_t room, uint16_t status, enum lb_error_code code, const char *why)
{
    int count = snprintf(body, room, "{\"error\": {\"message\": \"%s\", \"type\": \"%s\", \"param\": null, \"code\": \"%s\"}}\n",
                         why, type_of(status), name_of(status, code));
    return count > 0 ? (size_t)count : 0;
}
