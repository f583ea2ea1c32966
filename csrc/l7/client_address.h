/* Who asks, where proxies speak for their clients. */
#ifndef LB_CLIENT_ADDRESS_H
#define LB_CLIENT_ADDRESS_H

#include "exchange.h"
#include "l7.h"

/* The address of the client whose request is l7->message: the last one in X-Forwarded-For that is no trusted proxy's, where such a proxy
 * sent it; else the peer's, or that of the PROXY header. 0: it cannot be told, as what a trusted proxy says of it is no address. */
__attribute__((warn_unused_result)) int lb_http_client_address(const struct lb_l7 *l7, const struct lb_exchange *exchange,
                                                               const char *bytes, uint8_t ip[16]);

#endif
