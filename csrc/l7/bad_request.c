#include "bad_request.h"

static const char *words_of(enum lb_reading reading)
{
    switch (reading) {
    case LB_READ_DONE:
    case LB_READ_PARTIAL:
    case LB_READ_BAD:
        break;
    case LB_READ_TOO_LARGE:
        return "the body is too large";
    case LB_READ_TARGET_LONG:
        return "the target is too long";
    case LB_READ_EXPECTATION:
        return "only 100-continue can be expected";
    case LB_READ_HEAD_LARGE:
        return "the head is too large";
    case LB_READ_UNKNOWN:
        return "this method or transfer coding is not known here";
    case LB_READ_VERSION:
        return "only HTTP/1.0 and HTTP/1.1 are spoken here";
    }
    return "the request breaks the rules of HTTP";
}

struct lb_verdict lb_http_bad_request(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_reading reading)
{
    int says_status = reading != LB_READ_DONE && reading != LB_READ_PARTIAL;
    lb_add(&l7->ctx->row->requests_bad, 1);
    exchange->persistent = 0;
    return lb_verdict_respond((uint16_t)(says_status ? reading : LB_READ_BAD), words_of(reading));
}
