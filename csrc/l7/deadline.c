#include "deadline.h"

#include <errno.h>

#include "awaits.h"
#include "belongs.h"
#include "input.h"
#include "min_rate.h"
#include "stopping.h"

/* Whom we wait for, and for how long. Each client has one timer, that is hardly ever moved: it never fires too late, and that it fires too
 * early costs a look. Two clocks: since_ms, when anything last moved, and asked_ms, when the request did. What a backend sends before
 * its final head moves only the first, so that neither a head that drips nor interim responses without end put off response_timeout. */

enum {
    SHORT_LINGER_MS = 2000, /* while we drain, or when too many linger */
    CROWD = 8, /* more than one client in so many that lingers */
};

static uint32_t exchange_limit_ms(const struct lb_l7 *l7, const struct lb_http *client)
{
    switch (lb_http_awaits(l7, client)) {
    case LB_AWAITS_SENDER:
    case LB_AWAITS_TAKER:
        return lb_http_listener(l7, client)->body_timeout_ms;
    case LB_AWAITS_UPLOAD:
        return lb_http_pool(l7, client)->send_timeout_ms;
    case LB_AWAITS_HEAD:
        return lb_http_pool(l7, client)->response_timeout_ms;
    case LB_AWAITS_BODY:
        return lb_http_listener(l7, client)->idle_timeout_ms;
    }
    return 0;
}

static uint32_t limit_ms(const struct lb_l7 *l7, const struct lb_http *client)
{
    const struct lb_listener_row *listener = lb_http_listener(l7, client);
    switch ((enum lb_http_state)client->state) {
    case LB_HTTP_FREE:
        return 0;
    case LB_HTTP_READING:
        return lb_http_has_begun(l7, client) ? listener->header_timeout_ms : listener->keepalive_timeout_ms;
    case LB_HTTP_QUEUED:
        return lb_http_pool(l7, client)->queue_timeout_ms;
    case LB_HTTP_CONNECTING:
        return lb_http_pool(l7, client)->connect_timeout_ms;
    case LB_HTTP_EXCHANGE:
        return exchange_limit_ms(l7, client);
    case LB_HTTP_RESPONDING:
        return listener->body_timeout_ms;
    case LB_HTTP_LINGERING:
        return listener->lingering_timeout_ms;
    }
    return 0;
}

static uint32_t since_ms(const struct lb_l7 *l7, const struct lb_http *client)
{
    if (client->state != LB_HTTP_EXCHANGE || client->stage != LB_RESPONSE_AWAITED ||
        lb_http_awaits(l7, client) == LB_AWAITS_TAKER)
        return client->since_ms;
    return client->asked_ms;
}

static uint64_t left_of(uint32_t from_ms, uint32_t limit, uint64_t now_ms)
{
    uint32_t passed_ms = (uint32_t)now_ms - from_ms;
    return limit > passed_ms ? limit - passed_ms : 0;
}

/* All of its lingering has a limit, too. */
static uint64_t linger_left_ms(const struct lb_l7 *l7, const struct lb_http *client)
{
    uint32_t whole_ms = lb_http_listener(l7, client)->lingering_time_ms;
    int is_short = l7->lingering > l7->clients.capacity / CROWD || lb_http_must_close(l7, client);
    if (is_short && whole_ms > SHORT_LINGER_MS)
        whole_ms = SHORT_LINGER_MS;
    return left_of(client->linger_ms, whole_ms, lb_now_ms(l7->ctx));
}

/* How long may it still be as it is? */
static uint64_t left_ms(const struct lb_l7 *l7, const struct lb_http *client)
{
    uint64_t left = left_of(since_ms(l7, client), limit_ms(l7, client), lb_now_ms(l7->ctx));
    if (client->state != LB_HTTP_LINGERING)
        return left;
    uint64_t whole = linger_left_ms(l7, client);
    return whole < left ? whole : left;
}

static struct lb_look look_of(const struct lb_l7 *l7, struct lb_http *client)
{
    return (struct lb_look){
        .side = {&client->client, &lb_http_conn(l7, client)->side},
        .now_ms = (uint32_t)lb_now_ms(l7->ctx),
        .moved_ms = client->since_ms,
        .timeout_ms = lb_http_pool(l7, client)->user_timeout_ms,
    };
}

static void fire_in(struct lb_l7 *l7, struct lb_http *client, uint64_t ms)
{
    uint64_t due_ms = lb_now_ms(l7->ctx) + ms;
    if (!client->timer.next || client->timer.due * LB_TIMER_TICK_MS > due_ms + LB_TIMER_TICK_MS)
        lb_timer_set(&l7->wheel, &client->timer, due_ms);
}

void lb_http_rearm(struct lb_l7 *l7, struct lb_http *client)
{
    uint64_t ms = left_ms(l7, client);
    if (client->state == LB_HTTP_EXCHANGE) {
        struct lb_look look = look_of(l7, client);
        uint32_t look_ms = lb_peers_next_ms(&look, limit_ms(l7, client));
        ms = look_ms < ms ? look_ms : ms;
        uint32_t quiet_ms = lb_http_quiet_left_ms(l7, client);
        ms = quiet_ms < ms ? quiet_ms : ms;
    }
    fire_in(l7, client, ms);
}

/* --- too late ------------------------------------------------------------------------------------------------------- */

static struct lb_verdict backend_is_late(struct lb_l7 *l7, const char *why)
{
    lb_add(&l7->ctx->row->response_timeouts, 1);
    return lb_verdict_lost(504, why);
}

static struct lb_verdict exchange_timeout(struct lb_l7 *l7, struct lb_http *client)
{
    int begun = client->stage != LB_RESPONSE_AWAITED;
    switch (lb_http_awaits(l7, client)) {
    case LB_AWAITS_TAKER:
        return lb_verdict_end(LB_END_IDLE);
    case LB_AWAITS_SENDER:
        return begun ? lb_verdict_end(LB_END_IDLE) : lb_verdict_respond(408, "the request did not come in time");
    case LB_AWAITS_UPLOAD:
        return begun ? lb_verdict_end(LB_END_BACKEND) : backend_is_late(l7, "the backend did not take the request in time");
    case LB_AWAITS_HEAD:
        return backend_is_late(l7, "the backend did not answer in time");
    case LB_AWAITS_BODY:
        return lb_verdict_end(LB_END_BACKEND);
    }
    return lb_verdict(LB_NEXT_WAIT);
}

static struct lb_verdict timed_out(struct lb_l7 *l7, struct lb_http *client)
{
    switch ((enum lb_http_state)client->state) {
    case LB_HTTP_FREE:
        return lb_verdict(LB_NEXT_OVER);
    case LB_HTTP_READING:
        if (!lb_http_has_begun(l7, client) || client->unsent)
            return lb_verdict_end(LB_END_IDLE);
        client->persistent = 0;
        client->minor = 1;
        client->method = LB_METHOD_OTHER; /* not that of the exchange before */
        client->request.whole = 0;
        return lb_verdict_respond(408, "the request did not come in time");
    case LB_HTTP_QUEUED:
        return lb_verdict_respond(503, "no backend could take the request in time");
    case LB_HTTP_CONNECTING:
        return lb_verdict_number(LB_NEXT_FAILED, ETIMEDOUT);
    case LB_HTTP_EXCHANGE:
        return exchange_timeout(l7, client);
    case LB_HTTP_RESPONDING:
    case LB_HTTP_LINGERING:
        return lb_verdict_end(LB_END_IDLE);
    }
    return lb_verdict(LB_NEXT_WAIT);
}

/* See to both peers: LB_NEXT_WAIT, unless one is dead. */
static struct lb_verdict look_at_peers(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_look look = look_of(l7, client);
    enum lb_peers_verdict found = lb_peers_look(&client->peers, &look);
    if (look.took[0] || look.took[1])
        client->since_ms = lb_later_ms(client->since_ms, look.took[0] ? look.acked_ms[0] : look.acked_ms[1]);
    if (look.took[1]) /* the request moves on, though slowly */
        client->asked_ms = lb_later_ms(client->asked_ms, look.acked_ms[1]);
    switch (found) {
    case LB_PEERS_LIVE:
        fire_in(l7, client, lb_peers_next_ms(&look, limit_ms(l7, client)));
        return lb_verdict(LB_NEXT_WAIT);
    case LB_CLIENT_IS_DEAD:
        return lb_verdict_end(LB_END_CLIENT_LEFT);
    case LB_BACKEND_IS_DEAD:
        return lb_verdict_lost(502, "the backend does not acknowledge anything any more");
    }
    return lb_verdict(LB_NEXT_WAIT);
}

struct lb_verdict lb_http_fire(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_verdict peers = client->state == LB_HTTP_EXCHANGE ? look_at_peers(l7, client) : lb_verdict(LB_NEXT_WAIT);
    if (peers.next != LB_NEXT_WAIT)
        return peers;
    if (!left_ms(l7, client))
        return timed_out(l7, client);
    if (client->state == LB_HTTP_EXCHANGE)
        lb_http_look_whether_quiet(l7, client);
    if (lb_http_is_slow(l7, client))
        return lb_http_too_slow(l7, client);
    lb_http_rearm(l7, client);
    return lb_verdict(LB_NEXT_WAIT);
}
