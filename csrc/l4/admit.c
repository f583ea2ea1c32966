#include "admit.h"

#include "../table/account.h"
#include "../table/clients.h"
#include "../table/why.h"
#include "networks.h"
#include "trust.h"

static void refuse(struct lb_worker_context *ctx, uint32_t listener, const struct lb_ends *ends, const uint8_t ip[16],
                   enum lb_end why)
{
    struct lb_ended ended = {
        .now_us = ctx->now_us,
        .began_us = ctx->now_us,
        .listener = listener,
        .pool = UINT32_MAX,
        .backend = UINT32_MAX,
        .connect_us = LB_NEVER_US,
        .first_us = LB_NEVER_US,
        .client = ip,
        .client_port = lb_net_port(&ends->client),
        .kind = LB_RECORD_REFUSED,
        .end = why,
    };
    lb_count_refused(ctx, why);
    lb_account(&ctx->shm, ctx->worker, &ended);
}

void lb_admit_deny(struct lb_worker_context *ctx, uint32_t listener, const struct lb_ends *ends)
{
    uint8_t ip[16];
    lb_net_as_v6(&ends->client, ip);
    struct lb_why_refused refused = {.now_us = ctx->now_us, .pool = ctx->shm.listeners[listener].pool, .why = LB_WHY_DENIED};
    lb_why_refuse(&ctx->shm, ctx->worker, &refused);
    refuse(ctx, listener, ends, ip, LB_ENDED_DENIED);
}

static int may_come(const struct lb_listener_row *row, const uint8_t ip[16])
{
    uint32_t allowed = row->allowed_count, denied = row->denied_count; /* the row may be written meanwhile */
    if (allowed > LB_CLIENT_NETWORKS || denied > LB_CLIENT_NETWORKS - allowed)
        return 0;
    return lb_networks_admit(row->clients, allowed, denied, ip);
}

int lb_admit_limited(struct lb_worker_context *ctx, uint32_t listener, struct lb_ends *ends, enum lb_asked asked)
{
    const struct lb_listener_row *row = &ctx->shm.listeners[listener];
    uint8_t ip[16];
    lb_net_as_v6(&ends->client, ip);
    int trusted = lb_listener_trusts_ip(row, ip), names_another = trusted && row->accept_proxy && asked == LB_ASKED_PEER;
    if (row->client_lists && !names_another && !may_come(row, ip)) {
        lb_admit_deny(ctx, listener, ends);
        return 0;
    }
    if (trusted || !row->client_limits)
        return 1;
    switch (lb_client_admit(&ctx->shm, ctx->worker, listener, ip, ctx->now_us, &ends->counted)) {
    case LB_CLIENT_ADMITTED:
        return 1;
    case LB_CLIENT_TOO_MANY:
        refuse(ctx, listener, ends, ip, LB_ENDED_LIMITED);
        return 0;
    case LB_CLIENT_TOO_FAST:
        refuse(ctx, listener, ends, ip, LB_ENDED_TOO_FAST);
        return 0;
    }
    return 1;
}

void lb_ends_drop(struct lb_worker_context *ctx, struct lb_ends *ends)
{
    lb_proxy_info_drop(&ctx->proxy_info, ends->proxy_info);
    lb_client_leave(&ctx->shm, ctx->worker, ends->counted);
    ends->proxy_info = ends->counted = 0;
}
