/* What goes out on a stream of a client: heads, bodies as both windows and its share of the connection allow, and its end. */
#ifndef LB_H2_CLIENT_SEND_H
#define LB_H2_CLIENT_SEND_H

#include "../../l4/lane.h"
#include "encode.h"
#include "streams.h"

/* Bytes that a stream sends before the others of its connection have their turn: while some wait to be sent, and while none do. */
enum { LB_H2_SHARE = 16384, LB_H2_WHOLE_SHARE = 65536 };

/* l7->message, which was read from bytes, goes out as HEADERS. */
enum lb_step lb_h2_send_head(struct lb_l7 *l7, struct lb_h2_stream *stream, const char *bytes, const struct lb_h2_edits *edits,
                             int end_stream);

/* Send it as DATA; what may not go yet is held. */
enum lb_step lb_h2_send(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, size_t count);

/* Send on what is held: 1 nothing is left, 0 no more may go, -1 it failed. */
int lb_h2_flush(struct lb_l7 *l7, struct lb_exchange *exchange);

/* END_STREAM, where it has not gone with the last bytes: with the trailers, or by itself. */
enum lb_step lb_h2_send_end(struct lb_l7 *l7, const struct lb_exchange *exchange);

#endif
