#include "idle.h"

#include "../belongs.h"
#include "../linger.h"

enum {
    ROUND_TRIP_MS = 1000, /* after so long the last stream is said, whether our PING was acknowledged or not */
    LOOK_MS = 60000,      /* of a connection with streams: there is nothing to be late for */
};

static uint64_t open_left_ms(const struct lb_l7 *l7, const struct lb_h2_client *client)
{
    const struct lb_listener_row *listener = lb_http_client_listener(l7, &client->client);
    uint32_t since_ms = client->client.since_ms;
    if (client->going == LB_H2_WARNED)
        return lb_left_ms(l7->ctx, since_ms, ROUND_TRIP_MS);
    if (client->link.block.stream || !client->link.settled)
        return lb_left_ms(l7->ctx, since_ms, listener->header_timeout_ms);
    if (client->streams)
        return LOOK_MS;
    return lb_left_ms(l7->ctx, since_ms, listener->keepalive_timeout_ms);
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
        return lb_http_linger_left_ms(l7, &client->client, client->linger_ms, lb_http_client_must_close(l7, &client->client));
    }
    return 0;
}

void lb_h2_rearm(struct lb_l7 *l7, struct lb_h2_client *client)
{
    lb_timer_set_within(&l7->h2.wheel, &client->client.timer, lb_now_ms(l7->ctx) + lb_h2_left_ms(l7, client));
}
