/* All of a worker's TLS: what holds for each listener and pool, as the control plane last said, and the connections' common ground.
 * Nothing is opened before the first bundle comes. One thread's own. */
#ifndef LB_TLS_RULES_H
#define LB_TLS_RULES_H

#include "../core/slab.h"
#include "connection.h"

struct lb_tls_rules {
    struct lb_tls_shared shared;
    struct lb_slab slab;
    struct lb_tls_context **listeners; /* by row; NULL: no TLS ends there */
    struct lb_tls_context **pools;     /* by row; NULL: no TLS is spoken to them */
    uint32_t max_listeners;
    uint32_t max_pools;
    uint32_t max_backends;
    uint32_t max_connections;
    int open;
};

/* The bounds; opens nothing. */
void lb_tls_rules_prepare(struct lb_tls_rules *rules, uint32_t listeners, uint32_t pools, uint32_t backends,
                          uint32_t connections);
void lb_tls_rules_close(struct lb_tls_rules *rules);

/* Follow a note: 0, or -errno with the old rules in force. memory: the bundle's descriptor, the caller's; -1: the row has none any
 * more. */
__attribute__((warn_unused_result)) int lb_tls_rules_follow(struct lb_tls_rules *rules, enum lb_tls_kind kind, uint32_t row,
                                                            int memory);

static inline struct lb_tls_context *lb_tls_listener(const struct lb_tls_rules *rules, uint32_t row)
{
    return rules->open && row < rules->max_listeners ? rules->listeners[row] : NULL;
}

static inline struct lb_tls_context *lb_tls_pool(const struct lb_tls_rules *rules, uint32_t row)
{
    return rules->open && row < rules->max_pools ? rules->pools[row] : NULL;
}

#endif
