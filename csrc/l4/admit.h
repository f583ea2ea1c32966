/* Limits of a listener's clients, before one is served. */
#ifndef LB_ADMIT_H
#define LB_ADMIT_H

#include "worker_context.h"

/* Who is asked about: a peer, which a PROXY header may still speak for, or the client that such a header has named. */
enum lb_asked { LB_ASKED_PEER, LB_ASKED_NAMED };

__attribute__((warn_unused_result)) int lb_admit_limited(struct lb_worker_context *ctx, uint32_t listener, struct lb_ends *ends,
                                                         enum lb_asked asked);

/* May this client have another session here? Then ends->counted says where that is counted. Else it is counted and recorded as
 * refused; the descriptor stays the caller's. Those whose word is taken (trusted_proxies) speak for many, and are not limited. Of
 * mode http, who may come is asked of each request (l7/guard.h). */
__attribute__((warn_unused_result)) static inline int lb_admit(struct lb_worker_context *ctx, uint32_t listener,
                                                               struct lb_ends *ends, enum lb_asked asked)
{
    const struct lb_listener_row *row = &ctx->shm.listeners[listener];
    return !(row->client_limits | row->client_lists) || lb_admit_limited(ctx, listener, ends, asked);
}

/* It is refused for its address: counted, recorded and explained. */
void lb_admit_deny(struct lb_worker_context *ctx, uint32_t listener, const struct lb_ends *ends);

/* A client is gone, and what was kept of its ends with it. */
void lb_ends_drop(struct lb_worker_context *ctx, struct lb_ends *ends);

#endif
