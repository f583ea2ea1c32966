/* A backend that speaks HTTP/1, as the end of an exchange. */
#ifndef LB_H1_SERVER_STREAM_H
#define LB_H1_SERVER_STREAM_H

#include "../exchange.h"

/* The connection carries one exchange at a time: its socket is that exchange's alone. */
struct lb_stream lb_h1_server_stream(struct lb_conn *conn);

#endif
