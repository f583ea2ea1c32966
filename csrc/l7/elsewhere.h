/* Responses that their pool's retry_on, or their route's, keeps from clients: the request goes to another backend instead, as long as it is
 * held, may be repeated, and the retry budget allows it. Otherwise the client gets the response as it is. */
#ifndef LB_ELSEWHERE_H
#define LB_ELSEWHERE_H

#include "l7.h"
#include "verdict.h"

/* What is retried of a request: its route's own words, and its pool's for the rest. enum lb_retry_on, bits; 0: nothing. */
static inline uint32_t lb_http_retry_on(uint32_t route, uint32_t pool)
{
    uint32_t own = (route & LB_RETRY_SAYS_STATUSES ? (uint32_t)LB_RETRY_STATUSES : 0) |
                   (route & LB_RETRY_SAYS_POST ? (uint32_t)LB_RETRY_POST : 0);
    uint32_t says = (route & own) | (pool & ~own);
    return says & LB_RETRY_STATUSES ? says : 0;
}

/* May a response send this exchange's request to another backend? */
static inline int lb_http_may_come_back(const struct lb_exchange *exchange)
{
    return exchange->retry_on && (lb_method_is_idempotent((enum lb_method)exchange->method) ||
                                  (exchange->method == LB_POST && exchange->retry_on & LB_RETRY_POST));
}

/* Does this status say that the backend cannot serve, and does the exchange's request go elsewhere for it? */
int lb_http_is_refusal(const struct lb_exchange *exchange, uint16_t status);

/* The final head of a response has come to an exchange with retry_on: l7->message, read from bytes. LB_NEXT_INSTEAD: it is accounted for,
 * and another backend is charged with the request, which is l7->message now. LB_NEXT_WAIT: it is for the client. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_elsewhere(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                        const char *bytes);

/* Nobody else can be reached for a request that a response sent to another backend: its client is told that response's status, as it would
 * have been without another try; `otherwise`: where there was no such response. */
static inline struct lb_verdict lb_http_refused(const struct lb_exchange *exchange, struct lb_verdict otherwise)
{
    struct lb_verdict refused = lb_verdict_respond(exchange->refused, "no other backend could be reached after this status");
    refused.number = exchange->pause_s;
    return exchange->refused ? refused : otherwise;
}

/* It goes out to a backend. What may be repeated is as if that had not happened; of all else no older status tells. */
static inline void lb_http_refused_no_more(struct lb_exchange *exchange)
{
    if (!lb_method_is_idempotent((enum lb_method)exchange->method))
        exchange->refused = exchange->pause_s = 0;
}

/* Leave the backend and its response, and go on with this one, which is charged already. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_go_elsewhere(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                           uint32_t backend);

#endif
