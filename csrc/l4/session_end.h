/* The end of a session: it is counted, gives everything back, and closes. */
#ifndef LB_SESSION_END_H
#define LB_SESSION_END_H

#include "session_state.h"

/* The one way out. */
void lb_session_end(struct lb_worker_context *ctx, struct lb_session *session, enum lb_end why);

#endif
