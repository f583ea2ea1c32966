/* How streams and connections of HTTP/2 clients end. */
#ifndef LB_H2_END_H
#define LB_H2_END_H

#include "streams.h"

/* Its exchange is broken off; its client is told by RST_STREAM, unless it has reset the stream itself. */
void lb_h2_stream_end(struct lb_l7 *l7, struct lb_h2_stream *stream, enum lb_end why);

/* No new streams: first a warning, and the last stream that is served after a round trip, or at once the latter. */
void lb_h2_client_warn(struct lb_l7 *l7, struct lb_h2_client *client);
void lb_h2_client_say_last(struct lb_l7 *l7, struct lb_h2_client *client);

/* A connection error: GOAWAY with it, and the end of all streams. What is held goes out, then FIN. */
void lb_h2_client_fault(struct lb_l7 *l7, struct lb_h2_client *client, enum lb_h2_error error);

/* All is said, and no stream is left. */
void lb_h2_client_part(struct lb_l7 *l7, struct lb_h2_client *client);
void lb_h2_client_linger(struct lb_l7 *l7, struct lb_h2_client *client);

/* The connection's end. */
void lb_h2_client_end(struct lb_l7 *l7, struct lb_h2_client *client, enum lb_end why);

#endif
