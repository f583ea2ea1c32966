#include "idle.h"

#include "../belongs.h"

enum {
    SHORT_LINGER_MS = 2000, /* while we drain, or when too many linger */
    CROWD = 8,              /* more than one client in so many that lingers */
};

static uint64_t left_of(uint32_t from_ms, uint32_t limit, uint64_t now_ms)
{
    uint32_t passed_ms = (uint32_t)now_ms - from_ms;
    return limit > passed_ms ? limit - passed_ms : 0;
}

static uint64_t request_left_ms(const struct lb_l7 *l7, const struct lb_h1 *h1)
{
    const struct lb_listener_row *listener = lb_http_client_listener(l7, &h1->client);
    uint32_t limit = lb_input_has_begun(l7, &h1->in) ? listener->header_timeout_ms : listener->keepalive_timeout_ms;
    return left_of(h1->client.since_ms, limit, lb_now_ms(l7->ctx));
}

/* All of its lingering has a limit, too. */
static uint64_t linger_left_ms(const struct lb_l7 *l7, const struct lb_h1 *h1)
{
    const struct lb_listener_row *listener = lb_http_client_listener(l7, &h1->client);
    uint32_t whole_ms = listener->lingering_time_ms;
    int is_short = l7->lingering > l7->clients.capacity / CROWD || lb_http_client_must_close(l7, &h1->client);
    if (is_short && whole_ms > SHORT_LINGER_MS)
        whole_ms = SHORT_LINGER_MS;
    uint64_t whole = left_of(h1->linger_ms, whole_ms, lb_now_ms(l7->ctx));
    uint64_t left = left_of(h1->client.since_ms, listener->lingering_timeout_ms, lb_now_ms(l7->ctx));
    return whole < left ? whole : left;
}

/* How long may it still be as it is? */
static uint64_t left_ms(const struct lb_l7 *l7, const struct lb_h1 *h1)
{
    switch ((enum lb_h1_state)h1->state) {
    case LB_H1_FREE:
        return 0;
    case LB_H1_OPEN:
        return request_left_ms(l7, h1);
    case LB_H1_LINGERING:
        return linger_left_ms(l7, h1);
    }
    return 0;
}

void lb_h1_rearm(struct lb_l7 *l7, struct lb_h1 *h1)
{
    lb_timer_set_within(&l7->wheel, &h1->client.timer, lb_now_ms(l7->ctx) + left_ms(l7, h1));
}

struct lb_verdict lb_h1_fire(struct lb_l7 *l7, struct lb_h1 *h1)
{
    if (left_ms(l7, h1)) {
        lb_h1_rearm(l7, h1);
        return lb_verdict(LB_NEXT_WAIT);
    }
    if (h1->state == LB_H1_LINGERING || !lb_input_has_begun(l7, &h1->in) || h1->unsent)
        return lb_verdict_end(LB_ENDED_IDLE);
    return lb_verdict_respond(408, "the request did not come in time");
}
