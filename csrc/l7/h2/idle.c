#include "idle.h"

#include "../belongs.h"

enum {
    ROUND_TRIP_MS = 1000,   /* after so long the last stream is said, whether our PING was acknowledged or not */
    SHORT_LINGER_MS = 2000, /* while we drain */
    LOOK_MS = 60000,        /* of a connection with streams: there is nothing to be late for */
};

static uint64_t left_of(uint32_t from_ms, uint32_t limit, uint64_t now_ms)
{
    uint32_t passed_ms = (uint32_t)now_ms - from_ms;
    return limit > passed_ms ? limit - passed_ms : 0;
}

static uint64_t open_left_ms(const struct lb_l7 *l7, const struct lb_h2_client *client)
{
    const struct lb_listener_row *listener = lb_http_client_listener(l7, &client->client);
    uint64_t now_ms = lb_now_ms(l7->ctx);
    if (client->going == LB_H2_WARNED)
        return left_of(client->client.since_ms, ROUND_TRIP_MS, now_ms);
    if (client->link.block.stream || !client->link.settled)
        return left_of(client->client.since_ms, listener->header_timeout_ms, now_ms);
    if (client->streams)
        return LOOK_MS;
    return left_of(client->client.since_ms, listener->keepalive_timeout_ms, now_ms);
}

static uint64_t linger_left_ms(const struct lb_l7 *l7, const struct lb_h2_client *client)
{
    const struct lb_listener_row *listener = lb_http_client_listener(l7, &client->client);
    uint64_t now_ms = lb_now_ms(l7->ctx);
    uint32_t whole_ms = listener->lingering_time_ms;
    if (lb_http_client_must_close(l7, &client->client) && whole_ms > SHORT_LINGER_MS)
        whole_ms = SHORT_LINGER_MS;
    uint64_t whole = left_of(client->linger_ms, whole_ms, now_ms);
    uint64_t left = left_of(client->client.since_ms, listener->lingering_timeout_ms, now_ms);
    return whole < left ? whole : left;
}

uint64_t lb_h2_left_ms(const struct lb_l7 *l7, const struct lb_h2_client *client)
{
    switch ((enum lb_h2_client_state)client->state) {
    case LB_H2_FREE:
        return 0;
    case LB_H2_OPEN:
        return open_left_ms(l7, client);
    case LB_H2_PARTING:
    case LB_H2_LINGERING:
        return linger_left_ms(l7, client);
    }
    return 0;
}

void lb_h2_rearm(struct lb_l7 *l7, struct lb_h2_client *client)
{
    lb_timer_set_within(&l7->h2.wheel, &client->client.timer, lb_now_ms(l7->ctx) + lb_h2_left_ms(l7, client));
}
