/* A call's response that looks like one of a backend that stops: grpcio 1.85.1 answers CANCELLED to what comes while it stops, and some of
 * these answers overtake the GOAWAY that explains them (seen 0.4 ms later). Such a response waits a little for the GOAWAY. */
#ifndef LB_H2_DOUBT_H
#define LB_H2_DOUBT_H

#include "server.h"
#include "../l7.h"

/* Is it to wait on? Asked first, its time begins; when that is over, its exchange runs again. */
int lb_h2_doubt(struct lb_l7 *l7, struct lb_h2_call *call);

/* Run the exchanges of all calls that wait on this connection. */
void lb_h2_doubts_ready(struct lb_l7 *l7, const struct lb_h2_server *server);

#endif
