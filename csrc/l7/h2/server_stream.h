/* A backend that speaks HTTP/2, as the end of an exchange. */
#ifndef LB_H2_SERVER_STREAM_H
#define LB_H2_SERVER_STREAM_H

#include "../stream.h"

struct lb_h2_call;

/* Say its end, with the trailers of the request where there are any: 0, or -1, there is no room now. */
__attribute__((warn_unused_result)) int lb_h2_call_end(struct lb_l7 *l7, struct lb_h2_call *call);

extern const struct lb_stream_ops lb_h2_server_stream;

#endif
