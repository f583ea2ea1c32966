#include "streams.h"

#include <string.h>

#include "../exchanges.h"

enum { KNOWN = 64 }; /* bits of lb_h2_client.opened */

/* --- numbers ------------------------------------------------------------------------------------------------------------ */

static uint64_t bit_of(const struct lb_h2_client *client, uint32_t id)
{
    uint32_t back = (client->link.last_in - id) / 2;
    return id <= client->link.last_in && back < KNOWN ? UINT64_C(1) << back : 0;
}

int lb_h2_stream_was_open(const struct lb_h2_client *client, uint32_t id)
{
    return (client->opened & bit_of(client, id)) != 0;
}

int lb_h2_stream_was_cut(const struct lb_h2_client *client, uint32_t id)
{
    return (client->cut & bit_of(client, id)) != 0;
}

static uint64_t shifted(uint64_t bits, uint32_t by)
{
    return by < KNOWN ? bits << by : 0;
}

void lb_h2_stream_number(struct lb_h2_client *client, uint32_t id)
{
    uint32_t by = (id - client->link.last_in) / 2;
    client->opened = shifted(client->opened, by) | 1;
    client->cut = shifted(client->cut, by);
    client->link.last_in = id;
}

/* --- life --------------------------------------------------------------------------------------------------------------- */

struct lb_h2_stream *lb_h2_stream_find(const struct lb_h2_client *client, uint32_t id)
{
    struct lb_h2_stream *stream = client->newest;
    while (stream && stream->id != id)
        stream = stream->older;
    return stream;
}

static void link_newest(struct lb_h2_client *client, struct lb_h2_stream *stream)
{
    stream->older = client->newest;
    stream->newer = NULL;
    if (client->newest)
        client->newest->newer = stream;
    else
        client->oldest = stream;
    client->newest = stream;
}

static void unlink_stream(struct lb_h2_client *client, const struct lb_h2_stream *stream)
{
    if (stream->older)
        stream->older->newer = stream->newer;
    else
        client->oldest = stream->newer;
    if (stream->newer)
        stream->newer->older = stream->older;
    else
        client->newest = stream->older;
}

struct lb_h2_stream *lb_h2_stream_open(struct lb_l7 *l7, struct lb_h2_client *client, uint32_t id)
{
    uint32_t index = lb_slab_take(&l7->h2.streams);
    if (index == LB_SLAB_NONE)
        return NULL;
    struct lb_h2_stream *stream = lb_slab_at(&l7->h2.streams, index);
    struct lb_exchange *exchange = lb_exchange_take(l7, &client->client);
    *stream = (struct lb_h2_stream){.exchange = exchange, .client = client, .id = id, .trailers = LB_SLAB_NONE};
    stream->window.left = (int32_t)client->link.peer.window;
    lb_h2_credit_open(&stream->credit, LB_H2_STREAM_WINDOW);
    link_newest(client, stream);
    client->streams++;
    lb_add(&l7->ctx->row->http2_streams, 1);
    lb_add(&l7->ctx->row->http2_streams_active, 1);
    return stream;
}

static void give_place(struct lb_l7 *l7, const struct lb_h2_stream *stream)
{
    lb_slab_give(&l7->h2.streams, lb_slab_index(&l7->h2.streams, stream));
}

void lb_h2_stream_give(struct lb_l7 *l7, struct lb_h2_stream *stream)
{
    struct lb_h2_client *client = stream->client;
    lb_input_drop(l7, &stream->exchange->in);
    lb_exchange_give(l7, stream->exchange);
    lb_sendq_drop(l7->ctx, &stream->in);
    if (stream->trailers != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, stream->trailers);
    unlink_stream(client, stream);
    client->streams--;
    lb_add(&l7->ctx->row->http2_streams_active, UINT64_MAX); /* one less */
    client->client.since_ms = (uint32_t)lb_now_ms(l7->ctx);
    stream->free = 1;
    if (!stream->queued)
        give_place(l7, stream);
    lb_h2_client_touch(l7, client);
}

void lb_h2_stream_reset(struct lb_l7 *l7, struct lb_h2_client *client, uint32_t id, enum lb_h2_error error)
{
    client->cut |= bit_of(client, id);
    lb_h2_link_reset(l7->ctx, &client->link, id, error);
    lb_add(&l7->ctx->row->http2_resets_sent, 1);
    lb_h2_count_reset(l7->ctx->row, LB_RESETS_OF_CLIENT, error);
    lb_h2_client_touch(l7, client);
}

/* --- turns -------------------------------------------------------------------------------------------------------------- */

void lb_h2_stream_ready(struct lb_l7 *l7, struct lb_h2_stream *stream)
{
    if (stream->queued)
        return;
    uint32_t index = lb_slab_index(&l7->h2.streams, stream);
    stream->queued = 1;
    stream->next = LB_SLAB_NONE;
    if (l7->h2.ready == LB_SLAB_NONE)
        l7->h2.ready = index;
    else
        ((struct lb_h2_stream *)lb_slab_at(&l7->h2.streams, l7->h2.last))->next = index;
    l7->h2.last = index;
}

void lb_h2_streams_ready(struct lb_l7 *l7, struct lb_h2_client *client)
{
    for (struct lb_h2_stream *stream = client->oldest; stream; stream = stream->newer)
        lb_h2_stream_ready(l7, stream);
}

void lb_h2_stream_served(struct lb_h2_stream *stream)
{
    unlink_stream(stream->client, stream);
    link_newest(stream->client, stream);
}

void lb_h2_client_touch(struct lb_l7 *l7, struct lb_h2_client *client)
{
    if (client->client.queued)
        return;
    client->client.queued = 1;
    client->client.next = l7->h2.touched;
    l7->h2.touched = lb_h2_client_index(l7, client);
}
