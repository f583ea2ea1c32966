/* Whom an exchange waits for, and so whose limit counts. */
#ifndef LB_AWAITS_H
#define LB_AWAITS_H

#include "l7.h"

enum lb_awaits {
    LB_AWAITS_SENDER, /* the client, for more of the request's body */
    LB_AWAITS_TAKER,  /* the client, to take what there is of the response */
    LB_AWAITS_UPLOAD, /* the backend, to take what there is of the request */
    LB_AWAITS_HEAD,   /* the backend, for the response's head, or for its 100 */
    LB_AWAITS_BODY,   /* the backend, for more of the response's body */
};

/* In LB_EXCHANGE_FORWARDING only. */
enum lb_awaits lb_http_awaits(const struct lb_exchange *exchange);

#endif
