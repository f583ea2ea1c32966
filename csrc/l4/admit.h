/* Limits of a listener's clients, before one is served. */
#ifndef LB_ADMIT_H
#define LB_ADMIT_H

#include "worker_context.h"

__attribute__((warn_unused_result)) int lb_admit_limited(struct lb_worker_context *ctx, uint32_t listener, struct lb_ends *ends);

/* May this client have another session here? Then ends->counted says where that is counted. Else it is counted and recorded as
 * refused; the descriptor stays the caller's. Those whose word is taken (trusted_proxies) speak for many, and are not limited. */
__attribute__((warn_unused_result)) static inline int lb_admit(struct lb_worker_context *ctx, uint32_t listener,
                                                               struct lb_ends *ends)
{
    return !ctx->shm.listeners[listener].client_limits || lb_admit_limited(ctx, listener, ends);
}

/* A client is gone, and what was kept of its ends with it. */
void lb_ends_drop(struct lb_worker_context *ctx, struct lb_ends *ends);

#endif
