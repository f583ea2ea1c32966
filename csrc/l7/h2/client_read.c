#include "client_read.h"

#include "../belongs.h"
#include "end.h"
#include "client_request.h"
#include "upload.h"

/* For a stream that was reset, or has to be. */
static enum lb_h2_error spend(const struct lb_l7 *l7, struct lb_h2_client *client)
{
    if (lb_h2_budget_spend(&client->link.budget, lb_now_ms(l7->ctx)) == 0)
        return LB_H2_NO_ERROR;
    lb_add(&l7->ctx->row->http2_floods_resets, 1);
    return LB_H2_ENHANCE_YOUR_CALM;
}

/* A fault of one stream, open or not: RST_STREAM, which costs us more than the client. */
static enum lb_h2_error stream_fault(struct lb_l7 *l7, struct lb_h2_client *client, uint32_t id, enum lb_h2_error error)
{
    struct lb_h2_stream *stream = lb_h2_stream_find(client, id);
    if (stream) {
        stream->error = (uint8_t)error;
        lb_h2_stream_end(l7, stream, LB_ENDED_CLIENT);
    } else {
        lb_h2_stream_reset(l7, client, id, error);
    }
    return spend(l7, client);
}

/* Has the client not used this number yet (5.1: idle)? Those of servers are never used, since nothing is pushed. */
static int is_idle(const struct lb_h2_client *client, uint32_t id)
{
    return id > client->link.last_in || id % 2 == 0;
}

/* --- header blocks ------------------------------------------------------------------------------------------------------ */

/* A block on a number that was used before. Trailers end their stream (8.1). */
static enum lb_h2_error begin_further(struct lb_l7 *l7, struct lb_h2_client *client, const struct lb_h2_event *event)
{
    const struct lb_h2_stream *stream = lb_h2_stream_find(client, event->stream);
    client->kind = LB_H2_BLOCK_IGNORED;
    if (stream && stream->ended)
        return stream_fault(l7, client, event->stream, LB_H2_STREAM_CLOSED);
    if (stream && !event->end_stream)
        return stream_fault(l7, client, event->stream, LB_H2_PROTOCOL_ERROR);
    if (stream)
        client->kind = LB_H2_BLOCK_TRAILERS;
    if (stream || lb_h2_stream_was_cut(client, event->stream))
        return LB_H2_NO_ERROR;
    return lb_h2_stream_was_open(client, event->stream) ? LB_H2_STREAM_CLOSED : LB_H2_PROTOCOL_ERROR;
}

static enum lb_h2_error begin_block(struct lb_l7 *l7, struct lb_h2_client *client, const struct lb_h2_event *event)
{
    enum lb_h2_error error = LB_H2_NO_ERROR;
    client->request = (struct lb_h2_request){0};
    client->depends = event->number != 0;
    if (event->stream % 2 == 0)
        return LB_H2_PROTOCOL_ERROR; /* 5.1.1 */
    if (!client->streams)
        client->client.since_ms = (uint32_t)lb_now_ms(l7->ctx);
    if (event->stream <= client->link.last_in) {
        error = begin_further(l7, client, event);
    } else {
        lb_h2_stream_number(client, event->stream);
        client->kind = client->going == LB_H2_GOES ? LB_H2_BLOCK_IGNORED : LB_H2_BLOCK_REQUEST;
    }
    lb_h2_block_begin(&client->link.block, &client->link.fields_in, event->stream, event->end_stream);
    return error;
}

static uint32_t take_field(void *context, char *base, const struct lb_hpack_field *field)
{
    struct lb_h2_client *client = context;
    if (client->kind == LB_H2_BLOCK_IGNORED)
        return 0;
    lb_h2_request_field(&client->request, base, field);
    if (client->kind == LB_H2_BLOCK_TRAILERS && !lb_h2_is_trailer(field))
        client->request.malformed = 1;
    return client->request.end;
}

static enum lb_h2_error read_block(struct lb_l7 *l7, struct lb_h2_client *client, const struct lb_h2_event *event)
{
    struct lb_h2_link *link = &client->link;
    enum lb_h2_error error =
        lb_h2_block_read(l7, &link->block, &link->fields_in, event->bytes, event->count, client->request.end, take_field, client);
    if (error == LB_H2_ENHANCE_YOUR_CALM)
        lb_add(&l7->ctx->row->http2_floods_headers, 1);
    return error;
}

/* The lines stay with the stream until they go on behind its body. */
static enum lb_h2_error take_trailers(struct lb_l7 *l7, struct lb_h2_client *client)
{
    struct lb_h2_block *block = &client->link.block;
    struct lb_h2_stream *stream = lb_h2_stream_find(client, block->stream);
    if (!stream)
        return LB_H2_NO_ERROR; /* it has ended meanwhile */
    if (client->request.malformed || client->depends)
        return stream_fault(l7, client, block->stream, LB_H2_PROTOCOL_ERROR);
    stream->ended = 1;
    if (!block->too_large && client->request.end && client->request.end <= LB_TRAILER_BYTES) { /* else they are left out */
        stream->trailers = block->lines;
        stream->trailers_count = client->request.end;
        block->lines = LB_SLAB_NONE;
    }
    lb_h2_stream_ready(l7, stream);
    return LB_H2_NO_ERROR;
}

static enum lb_h2_error end_block(struct lb_l7 *l7, struct lb_h2_client *client)
{
    struct lb_h2_block *block = &client->link.block;
    enum lb_h2_error error = lb_h2_block_end(block);
    if (error == LB_H2_NO_ERROR && client->kind == LB_H2_BLOCK_TRAILERS)
        error = take_trailers(l7, client);
    if (error == LB_H2_NO_ERROR && client->kind == LB_H2_BLOCK_REQUEST) {
        enum lb_h2_error refused = lb_h2_client_request(l7, client);
        if (refused != LB_H2_NO_ERROR)
            error = stream_fault(l7, client, block->stream, refused);
    }
    lb_h2_block_drop(l7, block);
    return error;
}

/* --- DATA --------------------------------------------------------------------------------------------------------------- */

static enum lb_h2_error data_on_no_stream(struct lb_l7 *l7, struct lb_h2_client *client, uint32_t id)
{
    if (is_idle(client, id))
        return LB_H2_PROTOCOL_ERROR;
    if (lb_h2_stream_was_cut(client, id) || client->going == LB_H2_GOES)
        return LB_H2_NO_ERROR;
    return stream_fault(l7, client, id, LB_H2_STREAM_CLOSED);
}

static enum lb_h2_error read_data(struct lb_l7 *l7, struct lb_h2_client *client, const struct lb_h2_event *event)
{
    enum lb_h2_error error = lb_h2_link_charge(l7->ctx, &client->link, event->charge);
    if (error != LB_H2_NO_ERROR)
        return error;
    struct lb_h2_stream *stream = lb_h2_stream_find(client, event->stream);
    if (!stream)
        return data_on_no_stream(l7, client, event->stream);
    if (stream->ended)
        return stream_fault(l7, client, event->stream, LB_H2_STREAM_CLOSED);
    if (lb_h2_credit_spend(&stream->credit, event->charge) < 0)
        return stream_fault(l7, client, event->stream, LB_H2_FLOW_CONTROL_ERROR);
    if (!event->count) /* padding is done with at once */
        stream->credit.owed += event->charge;
    else if (lb_h2_upload_take(l7, stream, event->bytes, event->count) < 0)
        return stream_fault(l7, client, event->stream, LB_H2_INTERNAL_ERROR);
    lb_h2_stream_ready(l7, stream);
    return LB_H2_NO_ERROR;
}

static enum lb_h2_error end_data(struct lb_l7 *l7, struct lb_h2_client *client, uint32_t id)
{
    struct lb_h2_stream *stream = lb_h2_stream_find(client, id);
    if (!stream)
        return data_on_no_stream(l7, client, id);
    if (stream->ended)
        return stream_fault(l7, client, id, LB_H2_STREAM_CLOSED);
    stream->ended = 1;
    lb_h2_stream_ready(l7, stream);
    return LB_H2_NO_ERROR;
}

/* --- all others --------------------------------------------------------------------------------------------------------- */

/* Its client waits for nothing any more: the exchange is over at once. */
static enum lb_h2_error reset(struct lb_l7 *l7, struct lb_h2_client *client, const struct lb_h2_event *event)
{
    struct lb_h2_stream *stream = lb_h2_stream_find(client, event->stream);
    if (is_idle(client, event->stream))
        return LB_H2_PROTOCOL_ERROR;
    if (stream) {
        lb_add(&l7->ctx->row->http2_resets_received, 1);
        lb_h2_count_reset(l7->ctx->row, LB_RESETS_BY_CLIENT, event->value);
        stream->reset = 1;
        lb_h2_stream_end(l7, stream, LB_ENDED_CLIENT);
    }
    return spend(l7, client);
}

static enum lb_h2_error window(struct lb_l7 *l7, struct lb_h2_client *client, const struct lb_h2_event *event)
{
    struct lb_h2_stream *stream = lb_h2_stream_find(client, event->stream);
    if (!event->stream) {
        int was_empty = client->link.window.left <= 0;
        enum lb_h2_error error = lb_h2_link_hear(l7->ctx, &client->link, event);
        if (was_empty)
            lb_h2_streams_ready(l7, client);
        return error;
    }
    if (is_idle(client, event->stream))
        return LB_H2_PROTOCOL_ERROR;
    if (stream && lb_h2_window_add(&stream->window, event->value) < 0)
        return stream_fault(l7, client, event->stream, LB_H2_FLOW_CONTROL_ERROR);
    if (stream)
        lb_h2_stream_ready(l7, stream);
    return lb_h2_link_spend(l7->ctx, &client->link);
}

/* A new initial window is one of open streams, too (6.9.2). */
static enum lb_h2_error setting(struct lb_l7 *l7, struct lb_h2_client *client, const struct lb_h2_event *event)
{
    uint32_t before = client->link.peer.window;
    enum lb_h2_error error = lb_h2_link_hear(l7->ctx, &client->link, event);
    uint32_t now = client->link.peer.window;
    for (struct lb_h2_stream *stream = client->oldest; stream && now != before; stream = stream->newer) {
        if (lb_h2_window_shift(&stream->window, before, now) < 0)
            return LB_H2_FLOW_CONTROL_ERROR;
        lb_h2_stream_ready(l7, stream);
    }
    return error;
}

static enum lb_h2_error hear(struct lb_l7 *l7, struct lb_h2_client *client, const struct lb_h2_event *event)
{
    switch (event->kind) {
    case LB_H2_SETTING:
        return setting(l7, client, event);
    case LB_H2_BLOCK_BEGINS:
        return begin_block(l7, client, event);
    case LB_H2_BLOCK:
        return read_block(l7, client, event);
    case LB_H2_BLOCK_ENDS:
        return end_block(l7, client);
    case LB_H2_BODY:
        return read_data(l7, client, event);
    case LB_H2_BODY_ENDS:
        return end_data(l7, client, event->stream);
    case LB_H2_RESET:
        return reset(l7, client, event);
    case LB_H2_WINDOW:
        return window(l7, client, event);
    case LB_H2_STREAM_FAULT:
        return is_idle(client, event->stream) && event->value != LB_H2_FRAME_SIZE_ERROR
                 ? LB_H2_PROTOCOL_ERROR
                 : stream_fault(l7, client, event->stream, (enum lb_h2_error)event->value);
    case LB_H2_PONGED:
    case LB_H2_SETTINGS_END:
    case LB_H2_SETTINGS_ACK:
    case LB_H2_PINGED:
    case LB_H2_GOING_AWAY:
    case LB_H2_CHEAP:
    case LB_H2_FAULT:
        return lb_h2_link_hear(l7->ctx, &client->link, event);
    case LB_H2_MORE:
        break;
    }
    return LB_H2_NO_ERROR;
}

enum lb_h2_error lb_h2_client_read(struct lb_l7 *l7, struct lb_h2_client *client, const uint8_t *bytes, uint32_t count)
{
    for (;;) {
        uint32_t used;
        struct lb_h2_event event = lb_h2_frame_read(&client->link.reader, bytes, count, &used);
        bytes += used;
        count -= used;
        if (event.kind == LB_H2_MORE)
            return LB_H2_NO_ERROR;
        enum lb_h2_error error = hear(l7, client, &event);
        if (error != LB_H2_NO_ERROR)
            return error;
        if (event.kind == LB_H2_PONGED && client->going == LB_H2_WARNED && !client->link.pings)
            lb_h2_client_say_last(l7, client);
    }
}
