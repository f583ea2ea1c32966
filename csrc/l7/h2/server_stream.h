/* A backend that speaks HTTP/2, as the end of an exchange. */
#ifndef LB_H2_SERVER_STREAM_H
#define LB_H2_SERVER_STREAM_H

#include "../stream.h"

extern const struct lb_stream_ops lb_h2_server_stream;

#endif
