/* What is spoken with a request's backend: HTTP/1.1, or HTTP/2 on a connection that it shares with others. */
#ifndef LB_SPOKEN_H
#define LB_SPOKEN_H

#include "l7.h"

struct lb_spoken {
    uint8_t protocol; /* enum lb_protocol */
    uint8_t why;      /* enum lb_spoken_why */
};

/* With the backend that was picked. */
struct lb_spoken lb_http_spoken(struct lb_l7 *l7, const struct lb_exchange *exchange);

/* May its backend choose by ALPN? Not where a connection is a client's own, or is to carry another protocol. */
int lb_http_may_be_either(const struct lb_l7 *l7, const struct lb_exchange *exchange);

/* What a connection that begins with HTTP/1.1 offers by ALPN; NULL: nothing. */
const char *lb_http_offer(const struct lb_l7 *l7, const struct lb_exchange *exchange);

#endif
