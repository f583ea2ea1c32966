/* Requests, whoever reads them: counted, looked at, and routed. */
#ifndef LB_REQUEST_H
#define LB_REQUEST_H

#include "l7.h"
#include "verdict.h"

/* Where a request leads. */
struct lb_request_way {
    struct lb_routed_to to;
    enum lb_routed routed;
    int trailers; /* its pool takes them */
};

/* One has begun an exchange: it is counted. */
void lb_http_count_request(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Its head is whole: l7->message, read from bytes. What the exchange needs of it is kept, and its way is found: 0, or -1: it breaks the
 * rules. */
__attribute__((warn_unused_result)) int lb_http_look_at_request(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes,
                                                                struct lb_request_way *way);

/* What has come of its body is known, too: on to its pool, if it may. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_route_request(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                            const char *bytes, const struct lb_request_way *way);

/* Likewise, by what its body has said so far; LB_NEXT_READ: more of it decides. */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_route_by_body(struct lb_l7 *l7, struct lb_exchange *exchange,
                                                                            const char *bytes, const struct lb_json_said *said);

/* Likewise, once more, as the service that decides on it has let it on (auth_request.h). */
__attribute__((warn_unused_result)) struct lb_verdict lb_http_route_granted(struct lb_l7 *l7, struct lb_exchange *exchange);

/* Did it come by TLS (RFC 9110 7.4), to us or to a proxy whose word is taken? l7->message is the request. */
int lb_http_came_by_tls(const struct lb_l7 *l7, const struct lb_exchange *exchange, const char *bytes);

#endif
