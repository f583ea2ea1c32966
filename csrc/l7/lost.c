#include "lost.h"

#include "../l4/backend_report.h"
#include "../table/budget.h"
#include "charge.h"
#include "input.h"
#include "part.h"
#include "sendq.h"
#include "stage.h"
#include "stopping.h"

/* The same request once more, when the connection was an old one that its backend had closed meanwhile (RFC 9112 9.3.1). A request that
 * may not be repeated is lost: for a while the backend's others do without kept connections. */
static int may_replay(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_worker_context *ctx = l7->ctx;
    if (!client->reused || !lb_http_is_silent(client))
        return 0;
    lb_add(&ctx->row->connections_stale, 1);
    if (!client->replayable) {
        lb_report_of(ctx, client->backend)->lost_ms = lb_stamp_ms(ctx);
        return 0;
    }
    if (!lb_budget_retry(&ctx->shm, ctx->worker, client->pool, (uint32_t)(ctx->now_us / 1000000))) {
        lb_add(&ctx->row->retries_denied, 1);
        return 0;
    }
    lb_add(&ctx->row->replays, 1);
    return 1;
}

static struct lb_verdict replay(struct lb_l7 *l7, struct lb_http *client)
{
    client->fresh_only = 1;
    lb_http_drop_flow(l7, &client->up);
    lb_http_leave_backend(l7, client, LB_CONN_CUT);
    lb_http_reread(l7, client);
    return lb_verdict(LB_NEXT_ATTEMPT);
}

static void forget_request(struct lb_l7 *l7, struct lb_http *client)
{
    if (client->in != LB_SLAB_NONE && client->in_start != client->in_next)
        lb_http_consume(l7, client);
}

struct lb_verdict lb_http_backend_lost(struct lb_l7 *l7, struct lb_http *client, uint16_t status, const char *why)
{
    int old = client->reused && status == 502;
    lb_http_decided(l7, client, LB_FATE_FAILED);
    if (status == 502 && lb_http_is_silent(client))
        lb_http_note_lost(l7, client);
    if (status == 502 && may_replay(l7, client))
        return replay(l7, client);
    if (!old)
        lb_report_failed(l7->ctx, client->pool, client->backend, 0);
    if (status == 502 && !client->reused && client->replayable && !client->moved_on && lb_http_is_silent(client)) {
        client->moved_on = 1;
        return (struct lb_verdict){.next = LB_NEXT_ANOTHER, .status = status, .why = why};
    }
    lb_http_drop_part(l7, client);
    if (lb_http_is_answered(client))
        return lb_verdict_end(LB_END_BACKEND);
    forget_request(l7, client);
    return lb_verdict_respond(status, why);
}

struct lb_verdict lb_http_backend_cut(struct lb_l7 *l7, struct lb_http *client)
{
    int down = l7->ctx->shm.backends[client->backend].state == LB_DOWN;
    if (!down || client->state != LB_HTTP_EXCHANGE || lb_http_is_answered(client))
        return lb_verdict_end(LB_END_CUT);
    lb_http_decided(l7, client, LB_FATE_ENDED);
    lb_http_drop_part(l7, client);
    forget_request(l7, client);
    return lb_verdict_respond(502, "the backend went down");
}
