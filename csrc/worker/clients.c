#include "../l4/admit.h"
#include "../l7/guard.h"
#include "../table/account.h"
#include "worker.h"

/* Places of connections that have ended are free only when the lists of this turn have let go of them. */
static int refuse_without_place(struct lb_worker_context *ctx, const struct lb_slab *slab, const struct lb_accepted *accepted)
{
    struct lb_side client = {.fd = accepted->fd, .tls = accepted->tls};
    if (slab->used < slab->capacity)
        return 0;
    lb_count_refused(ctx, LB_ENDED_RESOURCE);
    lb_side_close(&client, 1);
    return 1;
}

/* A client that is ready to be served, by its listener's mode. */
void lb_worker_serve_client(void *context, const struct lb_accepted *accepted)
{
    struct lb_worker *worker = context;
    uint32_t mode = worker->ctx.shm.listeners[accepted->listener].mode;
    int http = mode == LB_MODE_HTTP || mode == LB_MODE_HTTPS;
    struct lb_ends ends = accepted->ends;
    if (refuse_without_place(&worker->ctx, http ? &worker->l7.clients : &worker->ctx.sessions, accepted))
        lb_ends_drop(&worker->ctx, &ends);
    else if (http)
        lb_http_open(&worker->l7, accepted);
    else
        lb_session_open(&worker->ctx, accepted);
}

/* An accepted connection. */
void lb_worker_take(void *context, int client, uint32_t listener, const union lb_address *peer)
{
    struct lb_worker *worker = context;
    struct lb_accepted accepted = {.fd = client,
                                   .listener = listener,
                                   .pool = worker->ctx.shm.listeners[listener].pool,
                                   .accepted_us = (uint32_t)worker->ctx.now_us,
                                   .ends.client = *peer};
    lb_account_accepted(&worker->ctx.shm, worker->ctx.worker, listener);
    if (!lb_admit(&worker->ctx, listener, &accepted.ends, LB_ASKED_PEER))
        lb_net_reset(client);
    else if (!lb_preread_is_due(&worker->ctx, listener, peer))
        lb_worker_serve_client(worker, &accepted);
    else if (!refuse_without_place(&worker->ctx, &worker->prereads.slab, &accepted))
        lb_preread_open(&worker->prereads, &accepted);
    else
        lb_ends_drop(&worker->ctx, &accepted.ends);
}

/* Where a client of TLS wants to go. */
uint32_t lb_worker_pool_of_name(void *context, uint32_t listener, const struct lb_hello *hello, const union lb_address *client)
{
    uint8_t ip[16];
    struct lb_worker *worker = context;
    struct lb_routed_to to = {.pool = worker->ctx.shm.listeners[listener].pool};
    lb_net_as_v6(client, ip);
    lb_routes_match_name(worker->l7.routes, listener, hello, ip, &to);
    return lb_guard_admits_name(worker->l7.routes, &to, ip) ? to.pool : LB_POOL_DENIED;
}
