#include "guard.h"

#include <string.h>

#include "../l4/networks.h"
#include "../table/why.h"
#include "auth_request.h"
#include "belongs.h"
#include "caller.h"
#include "client_address.h"
#include "credentials.h"
#include "granted.h"
#include "request_log.h"
#include "route_index.h"

/* By its number, from 1; NULL: there is none. */
static const struct lb_guard_row *guard_at(const struct lb_routes *routes, uint32_t number)
{
    return number ? &routes->guards[number - 1] : NULL;
}

static int admits(const struct lb_routes *routes, const struct lb_guard_row *guard, const uint8_t ip[16])
{
    return lb_networks_admit(routes->networks + guard->network, guard->allowed_count, guard->denied_count, ip);
}

int lb_guard_admits_name(const struct lb_routes *routes, const struct lb_routed_to *to, const uint8_t ip[16])
{
    const struct lb_guard_row *guard = guard_at(routes, to->guard);
    return !guard || !guard->lists || admits(routes, guard, ip);
}

/* --- credentials ---------------------------------------------------------------------------------------------------- */

const char *lb_guard_challenges(const struct lb_l7 *l7, struct lb_verdict said)
{
    static const char *const lines[] = {
        [LB_CHALLENGE_BEARER] = "WWW-Authenticate: Bearer realm=\"restricted\"\r\n",
        [LB_CHALLENGE_BASIC] = "WWW-Authenticate: Basic realm=\"restricted\", charset=\"UTF-8\"\r\n",
        [LB_CHALLENGE_BEARER | LB_CHALLENGE_BASIC] = "WWW-Authenticate: Basic realm=\"restricted\", charset=\"UTF-8\"\r\n"
                                                     "WWW-Authenticate: Bearer realm=\"restricted\"\r\n",
    };
    return said.status == 401 && said.next == LB_NEXT_RESPOND ? lines[l7->challenges] : NULL;
}

const char *lb_guard_lines(const struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_verdict said)
{
    const char *lines = lb_auth_lines(l7, exchange, said);
    return lines ? lines : lb_guard_challenges(l7, said);
}

/* Told to who asks why. */
static void note_refusal(const struct lb_worker_context *ctx, const struct lb_routed_to *to, uint16_t status, enum lb_why why)
{
    struct lb_why_refused refused = {ctx->now_us, to->pool, to->route, status, why};
    lb_why_refuse(&ctx->shm, ctx->worker, &refused);
    if (lb_way_tells(&to->way))
        lb_why_way(&ctx->shm, ctx->worker, &to->way);
}

static struct lb_verdict refuse_unknown(struct lb_l7 *l7, const struct lb_routed_to *to, const struct lb_guard_row *guard)
{
    lb_add(&l7->ctx->row->requests_unauthenticated, 1);
    note_refusal(l7->ctx, to, 401, LB_WHY_UNKNOWN);
    l7->challenges = (uint8_t)((guard->keys ? LB_CHALLENGE_BEARER : 0) | (guard->logins ? LB_CHALLENGE_BASIC : 0));
    return lb_verdict_respond(401, "no valid credentials came with the request");
}

static void keep_caller(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_guard_row *guard,
                        const struct lb_credential *found)
{
    const char *text = l7->routes->text, *name = text + found->row->name;
    uint32_t length = found->row->name_length;
    lb_http_log_user(l7, exchange, name, length);
    if (!guard->removes && !guard->identity_length)
        return;
    exchange->caller = lb_slab_take(&l7->callers);
    struct lb_caller *caller = lb_slab_at(&l7->callers, exchange->caller);
    caller->name_length = (uint8_t)length;
    caller->header_length = (uint8_t)guard->identity_length;
    caller->carrier_length = guard->removes && found->carrier_length < LB_CALLER_BYTES ? (uint8_t)found->carrier_length : 0;
    memcpy(caller->name, name, caller->name_length);
    memcpy(caller->header, text + guard->identity, caller->header_length);
    memcpy(caller->carrier, found->carrier, caller->carrier_length);
}

/* --- both ----------------------------------------------------------------------------------------------------------- */

static struct lb_verdict refuse(struct lb_l7 *l7, const struct lb_routed_to *to)
{
    lb_add(&l7->ctx->row->requests_denied, 1);
    note_refusal(l7->ctx, to, 403, LB_WHY_DENIED);
    return lb_verdict_respond(403, "this client address is not allowed");
}

struct lb_verdict lb_http_guard(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, const struct lb_routed_to *to)
{
    const struct lb_routes *routes = l7->routes;
    const struct lb_guard_row *of_route = guard_at(routes, to->guard);
    const struct lb_guard_row *of_listener = guard_at(routes, routes->guard_of[exchange->client->listener]);
    uint8_t ip[16];
    if (!of_listener && lb_http_listener(l7, exchange)->guarded && lb_http_has_old_routes(l7))
        return lb_verdict_respond(503, "no memory is left for new routes");
    const struct lb_guard_row *lists = of_route && of_route->lists ? of_route : of_listener;
    if (lists && lists->lists && (!lb_http_client_address(l7, exchange, bytes, ip) || !admits(routes, lists, ip)))
        return refuse(l7, to);
    const struct lb_guard_row *asks = of_route && of_route->asks ? of_route : of_listener;
    if (asks && asks->keys | asks->logins) {
        struct lb_credential found = lb_credentials_find(routes, asks, &l7->message, bytes);
        if (!found.row)
            return refuse_unknown(l7, to, asks);
        keep_caller(l7, exchange, asks, &found);
    }
    const struct lb_guard_row *decides = of_route && of_route->request_pool ? of_route : of_listener;
    if (!decides || !decides->request_pool || decides->request_pool == UINT32_MAX)
        return lb_verdict(LB_NEXT_WAIT);
    return lb_auth_ask(l7, exchange, bytes, decides, to);
}
