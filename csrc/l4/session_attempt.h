/* The backends that a session is tried on, one after the other. */
#ifndef LB_SESSION_ATTEMPT_H
#define LB_SESSION_ATTEMPT_H

#include "session_state.h"

/* Begin to connect to a backend. error: what the attempt before came to, 0 at first. LB_ENDED_DONE: a connect is under way; anything else
 * is why the session ends without a backend. */
__attribute__((warn_unused_result)) enum lb_end lb_session_attempt(struct lb_worker_context *ctx, struct lb_session *session,
                                                                   int error);

/* It is charged with its backend no more. why: what came of that. */
void lb_session_leave_backend(struct lb_worker_context *ctx, struct lb_session *session, enum lb_end why);

#endif
