/* A client that speaks HTTP/1, as the end of an exchange. */
#ifndef LB_H1_CLIENT_STREAM_H
#define LB_H1_CLIENT_STREAM_H

#include "../exchange.h"

/* The connection carries one exchange at a time: its socket is that exchange's alone. */
struct lb_stream lb_h1_client_stream(struct lb_http_client *client);

#endif
