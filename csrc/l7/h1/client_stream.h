/* A client that speaks HTTP/1, as the end of an exchange. */
#ifndef LB_H1_CLIENT_STREAM_H
#define LB_H1_CLIENT_STREAM_H

#include "../stream.h"

extern const struct lb_stream_ops lb_h1_client_stream;

#endif
