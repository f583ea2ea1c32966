#include "rules.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "resumption.h"

enum { WHY = 160 };

void lb_tls_rules_prepare(struct lb_tls_rules *rules, uint32_t listeners, uint32_t pools, uint32_t backends, uint32_t connections)
{
    *rules = (struct lb_tls_rules){
        .max_listeners = listeners, .max_pools = pools, .max_backends = backends, .max_connections = connections};
}

static int open_all(struct lb_tls_rules *rules)
{
    if (rules->open)
        return 0;
    int error = lb_slab_open(&rules->slab, sizeof(struct lb_tls), rules->max_connections);
    rules->listeners = calloc(rules->max_listeners, sizeof(void *));
    rules->pools = calloc(rules->max_pools, sizeof(void *));
    rules->shared.resumption = calloc(rules->max_backends, sizeof *rules->shared.resumption);
    rules->shared.gather = malloc(LB_TLS_RECORD);
    rules->shared.backends = rules->max_backends;
    rules->shared.slab = &rules->slab;
    rules->open = 1;
    if (error || (rules->listeners && rules->pools && rules->shared.resumption && rules->shared.gather))
        return error;
    return -ENOMEM;
}

void lb_tls_rules_close(struct lb_tls_rules *rules)
{
    if (!rules->open)
        return;
    for (uint32_t i = 0; rules->shared.resumption && i < rules->max_backends; i++)
        lb_resumption_drop(&rules->shared.resumption[i]);
    for (uint32_t i = 0; rules->listeners && i < rules->max_listeners; i++)
        lb_tls_context_release(rules->listeners[i]);
    for (uint32_t i = 0; rules->pools && i < rules->max_pools; i++)
        lb_tls_context_release(rules->pools[i]);
    free(rules->shared.resumption);
    free(rules->shared.gather);
    free(rules->listeners);
    free(rules->pools);
    lb_slab_close(&rules->slab);
    rules->open = 0;
}

static int take(struct lb_tls_rules *rules, enum lb_tls_kind kind, struct lb_tls_context **place, const void *bytes, size_t count)
{
    char why[WHY];
    if (kind == LB_TLS_TICKETS)
        return lb_bundle_read_keys(&rules->shared.keys, bytes, count);
    struct lb_tls_context *fresh;
    int error = lb_tls_context_open(&fresh, bytes, count, why, sizeof why);
    if (error)
        return error;
    if (fresh->kind != (uint32_t)kind) {
        lb_tls_context_release(fresh);
        return -EINVAL;
    }
    lb_tls_context_release(*place);
    *place = fresh;
    if (!rules->shared.keys.count)
        lb_tickets_make_up(&rules->shared.keys);
    return 0;
}

static struct lb_tls_context **place_of(const struct lb_tls_rules *rules, enum lb_tls_kind kind, uint32_t row)
{
    switch (kind) {
    case LB_TLS_LISTENER:
        return row < rules->max_listeners ? &rules->listeners[row] : NULL;
    case LB_TLS_POOL:
        return row < rules->max_pools ? &rules->pools[row] : NULL;
    case LB_TLS_TICKETS:
        break;
    }
    return NULL;
}

int lb_tls_rules_follow(struct lb_tls_rules *rules, enum lb_tls_kind kind, uint32_t row, int memory)
{
    struct stat facts;
    int error = open_all(rules);
    if (error) {
        lb_tls_rules_close(rules);
        return error;
    }
    struct lb_tls_context **place = place_of(rules, kind, row);
    if (!place && kind != LB_TLS_TICKETS)
        return -EINVAL;
    if (memory < 0) {
        if (place)
            lb_tls_context_release(*place), *place = NULL;
        return 0;
    }
    if (fstat(memory, &facts) < 0 || facts.st_size <= 0 || facts.st_size > LB_TLS_MOST_BYTES)
        return -EINVAL;
    void *bytes = mmap(NULL, (size_t)facts.st_size, PROT_READ, MAP_PRIVATE, memory, 0);
    if (bytes == MAP_FAILED)
        return -errno;
    error = take(rules, kind, place, bytes, (size_t)facts.st_size);
    munmap(bytes, (size_t)facts.st_size);
    return error;
}
