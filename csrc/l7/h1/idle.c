#include "idle.h"

#include "../belongs.h"
#include "../linger.h"

enum { CROWD = 8 /* more than one client in so many that lingers */ };

static uint64_t request_left_ms(const struct lb_l7 *l7, const struct lb_h1 *h1)
{
    const struct lb_listener_row *listener = lb_http_client_listener(l7, &h1->client);
    uint32_t limit = lb_input_has_begun(l7, &h1->in) ? listener->header_timeout_ms : listener->keepalive_timeout_ms;
    return lb_left_ms(l7->ctx, h1->client.since_ms, limit);
}

/* Short while we drain, or when too many linger. */
static uint64_t linger_left_ms(const struct lb_l7 *l7, const struct lb_h1 *h1)
{
    int is_short = l7->lingering > l7->clients.capacity / CROWD || lb_http_client_must_close(l7, &h1->client);
    return lb_http_linger_left_ms(l7, &h1->client, h1->linger_ms, is_short);
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
