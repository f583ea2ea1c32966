/* The end of a session: it is counted, gives everything back, and closes. */
#ifndef LB_SESSION_END_H
#define LB_SESSION_END_H

#include "session_state.h"

/* Why a session ended; each has its counter. */
enum lb_session_ending {
    REFUSED_NO_BACKEND,
    REFUSED_CONNECT,
    REFUSED_CLIENT_LEFT,
    REFUSED_RESOURCE,
    CLOSED_DONE,
    CLOSED_CLIENT_RESET,
    CLOSED_BACKEND_RESET,
    CLOSED_IDLE,
    CLOSED_HALF,
    CLOSED_CUT,
    CLOSED_STOPPED,
};

/* The one way out. */
void lb_session_end(struct lb_worker_context *ctx, struct lb_session *session, enum lb_session_ending why);

#endif
