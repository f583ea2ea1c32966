/* What listeners, pools and routes do to heads: composed for an exchange when it is routed (edited.h). Their edits apply in this order, and
 * each sees what the one before has made: the listener's, the pool's, the route's. */
#ifndef LB_EDITS_H
#define LB_EDITS_H

#include "edited.h"
#include "l7.h"
#include "route_index.h"

/* Compose what is done to the heads of this exchange, which was routed so; l7->message is its request, read from bytes. bytes: NULL: it has none
 * that could be read, and its response gets the listener's edits. 0, or -1: it does not fit (LB_EDITS_BYTES a head). */
__attribute__((warn_unused_result)) int lb_edits_make(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes,
                                                      const struct lb_routed_to *to);

/* Of a twin that asks (auth_request.h): what is granted to it, and nothing else. 0, or -1: it does not fit. */
__attribute__((warn_unused_result)) int lb_edits_grant(struct lb_l7 *l7, struct lb_exchange *exchange);

/* They are not needed any more. */
void lb_edits_drop(struct lb_l7 *l7, struct lb_exchange *exchange);

/* May there be any? */
static inline int lb_edits_any(const struct lb_l7 *l7)
{
    return l7->routes->changes;
}

/* NULL: nothing is done to its heads. */
static inline const struct lb_edited *lb_edits_of(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    if (exchange->edited == LB_SLAB_NONE)
        return NULL;
    return (const struct lb_edited *)(const void *)lb_heads_at(l7->ctx, &l7->heads, exchange->edited);
}

/* Of its response. */
static inline const struct lb_edited_head *lb_edits_of_response(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    const struct lb_edited *edited = lb_edits_of(l7, exchange);
    return edited && (edited->response.lengths || edited->response.lines != edited->response.lines_end) ? &edited->response
                                                                                                        : NULL;
}

#endif
