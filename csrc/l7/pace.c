#include "parts.h"

/* A client is to send or take min_body_rate over each body_timeout in which nobody but it was waited for. The figures are looked at when
 * its timer fires, so a byte costs nothing more; whoever else is waited for in between excuses it. */

static enum lb_pace waited_for(const struct lb_http *client)
{
    if (client->state != LB_HTTP_EXCHANGE)
        return LB_PACE_NOBODY;
    if (!client->request.whole)
        return client->up.pending || client->expects ? LB_PACE_NOBODY : LB_PACE_SENDER;
    return client->down.pending ? LB_PACE_TAKER : LB_PACE_NOBODY;
}

/* Only differences mean anything: an answer's head is written anew, and may be longer than what came. */
static uint64_t done_by(const struct lb_http *client, enum lb_pace pace)
{
    return pace == LB_PACE_SENDER ? client->bytes_in : client->bytes_out - client->down.pending;
}

static void count_from_now(struct lb_l7 *l7, struct lb_http *client, enum lb_pace pace)
{
    client->paced = (uint8_t)pace;
    client->paced_ms = (uint32_t)lb_now_ms(l7->plane);
    client->paced_bytes = done_by(client, pace);
}

void lb_http_pace_sender(struct lb_l7 *l7, struct lb_http *client)
{
    count_from_now(l7, client, LB_PACE_SENDER);
}

int lb_http_is_slow(struct lb_l7 *l7, struct lb_http *client)
{
    const struct lb_listener_row *listener = lb_http_listener(l7, client);
    uint64_t now_ms = lb_now_ms(l7->plane), span_ms = listener->body_timeout_ms;
    enum lb_pace pace = listener->min_body_rate ? waited_for(client) : LB_PACE_NOBODY;
    uint32_t passed_ms = (uint32_t)now_ms - client->paced_ms;
    int known = pace != LB_PACE_NOBODY && pace == client->paced;
    if (known && passed_ms >= span_ms &&
        (done_by(client, pace) - client->paced_bytes) * 1000 < listener->min_body_rate * span_ms)
        return 1;
    if (!known || passed_ms >= span_ms) {
        count_from_now(l7, client, pace);
        passed_ms = 0;
    }
    if (pace != LB_PACE_NOBODY)
        lb_timer_set(&l7->wheel, &client->timer, now_ms + span_ms - passed_ms);
    return 0;
}

enum lb_next lb_http_too_slow(struct lb_l7 *l7, struct lb_http *client)
{
    if (client->paced == LB_PACE_TAKER || client->stage != LB_ANSWER_AWAITED || client->down.pending)
        return lb_http_end(l7, client, LB_END_SLOW);
    lb_add(&l7->plane->row->requests_slow, 1);
    return lb_http_answer(l7, client, 408, "the request comes too slowly");
}
