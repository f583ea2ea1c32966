/* A client on a stream of HTTP/2, as exchanges have it. */
#ifndef LB_H2_CLIENT_STREAM_H
#define LB_H2_CLIENT_STREAM_H

#include "streams.h"

struct lb_stream lb_h2_client_stream(struct lb_h2_stream *stream);

#endif
