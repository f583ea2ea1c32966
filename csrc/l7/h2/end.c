#include "end.h"

#include "../../table/clients.h"
#include "../../table/ending.h"
#include "../belongs.h"
#include "../finish.h"
#include "idle.h"

/* --- a stream ----------------------------------------------------------------------------------------------------------- */

static enum lb_h2_error error_of(const struct lb_h2_stream *stream, enum lb_end why)
{
    if (stream->error)
        return (enum lb_h2_error)stream->error;
    int is_late = why == LB_ENDED_IDLE || why == LB_ENDED_SLOW || why == LB_ENDED_OVERDUE;
    return is_late || why == LB_ENDED_STOPPED ? LB_H2_CANCEL : LB_H2_INTERNAL_ERROR;
}

void lb_h2_stream_end(struct lb_l7 *l7, struct lb_h2_stream *stream, enum lb_end why)
{
    struct lb_h2_client *client = stream->client;
    lb_http_break_off(l7, stream->exchange, why);
    if (!stream->reset)
        lb_h2_stream_reset(l7, client, stream->id, error_of(stream, why));
    lb_h2_stream_give(l7, stream);
}

static void end_streams(struct lb_l7 *l7, struct lb_h2_client *client, enum lb_end why)
{
    while (client->oldest) {
        client->oldest->reset = 1; /* the connection's end says it of all */
        lb_h2_stream_end(l7, client->oldest, why);
    }
}

/* --- no new streams ----------------------------------------------------------------------------------------------------- */

void lb_h2_client_warn(struct lb_l7 *l7, struct lb_h2_client *client)
{
    if (client->going != LB_H2_STAYS || client->state != LB_H2_OPEN)
        return;
    client->going = LB_H2_WARNED;
    lb_add(&l7->ctx->row->http2_goaways, 1);
    client->client.since_ms = (uint32_t)lb_now_ms(l7->ctx);
    lb_h2_link_goaway(l7->ctx, &client->link, LB_H2_STREAM_MOST, LB_H2_NO_ERROR);
    lb_h2_link_ping(l7->ctx, &client->link);
    lb_h2_client_touch(l7, client);
    lb_h2_rearm(l7, client);
}

void lb_h2_client_say_last(struct lb_l7 *l7, struct lb_h2_client *client)
{
    if (client->going == LB_H2_GOES || client->state != LB_H2_OPEN)
        return;
    if (client->going == LB_H2_STAYS)
        lb_add(&l7->ctx->row->http2_goaways, 1);
    client->going = LB_H2_GOES;
    lb_h2_link_goaway(l7->ctx, &client->link, client->link.last_in, LB_H2_NO_ERROR);
    lb_h2_client_touch(l7, client);
}

void lb_h2_client_part(struct lb_l7 *l7, struct lb_h2_client *client)
{
    client->state = LB_H2_PARTING;
    client->linger_ms = client->client.since_ms = (uint32_t)lb_now_ms(l7->ctx);
    lb_h2_client_touch(l7, client);
    lb_h2_rearm(l7, client);
}

void lb_h2_client_linger(struct lb_l7 *l7, struct lb_h2_client *client)
{
    client->state = LB_H2_LINGERING;
    client->linger_ms = client->client.since_ms = (uint32_t)lb_now_ms(l7->ctx);
    l7->lingering++;
    lb_h2_rearm(l7, client);
}

void lb_h2_client_fault(struct lb_l7 *l7, struct lb_h2_client *client, enum lb_h2_error error)
{
    end_streams(l7, client, LB_ENDED_CLIENT);
    lb_add(&l7->ctx->row->http2_goaways, client->going == LB_H2_STAYS);
    lb_add(&l7->ctx->row->http2_faults, error != LB_H2_NO_ERROR);
    lb_h2_link_goaway(l7->ctx, &client->link, client->link.last_in, error);
    lb_h2_client_part(l7, client);
}

/* --- the end ------------------------------------------------------------------------------------------------------------- */

void lb_h2_client_end(struct lb_l7 *l7, struct lb_h2_client *client, enum lb_end why)
{
    struct lb_side side = client->client.side;
    int cut = client->streams != 0;
    end_streams(l7, client, why);
    lb_h2_link_close(l7, &client->link);
    lb_conn_drop_own(&l7->conns, &client->client.own);
    lb_proxy_info_drop(&l7->ctx->proxy_info, client->client.proxy_info);
    lb_client_leave(&l7->ctx->shm, l7->ctx->worker, client->client.counted);
    client->client.counted = 0;
    if (client->state == LB_H2_LINGERING)
        l7->lingering--;
    client->state = LB_H2_FREE;
    lb_timer_cancel(&client->client.timer);
    client->client.generation++;
    lb_ending_count(l7->ctx->row, why);
    lb_add(&l7->ctx->row->active, UINT64_MAX); /* one less; last: whoever sees the end finds it counted */
    lb_side_close(&side, lb_endings[why].resets != LB_RESETS_NEVER && cut);
    if (!client->client.queued) /* else the list gives it back */
        lb_slab_give(&l7->h2.clients, lb_h2_client_index(l7, client));
}
