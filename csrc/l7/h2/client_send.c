#include "client_send.h"

#include "../grpc.h"
#include "../part.h"
#include "../stage.h"

enum { NAMES_AT = 65536 }; /* in l7->out: where names are written in lower case */

static struct lb_h2_link *link_of(const struct lb_h2_stream *stream)
{
    return &stream->client->link;
}

/* --- bodies -------------------------------------------------------------------------------------------------------------- */

/* A response of gRPC whose backend forgot the status, which stands in trailers: behind DATA with END_STREAM, grpclib 0.4.9 would wait for it
 * until its deadline. */
static int lacks_status(const struct lb_exchange *exchange)
{
    return exchange->grpc && !exchange->grpc_web && exchange->status == 200 && exchange->grpc_status == LB_GRPC_NONE &&
           !exchange->part_end;
}

/* Does the stream end behind what is being sent? Not where trailers follow, which are kept in the exchange's part buffer. */
static int is_last(const struct lb_exchange *exchange)
{
    int whole = exchange->response.whole || exchange->stage == LB_RESPONSE_WHOLE;
    return exchange->state == LB_EXCHANGE_RESPONDING || (whole && !exchange->part_end && !lacks_status(exchange));
}

/* Others of its connection have their turns, too. While all that was said is with the socket nobody waits for this one, and what it has goes
 * out in one piece, without a copy. */
static uint32_t share_of(const struct lb_h2_stream *stream, uint32_t count)
{
    const struct lb_h2_client *client = stream->client;
    if (client->streams <= 1 || !stream->share)
        return client->streams <= 1 ? count : 0;
    uint32_t share = client->link.out.pending || !client->client.side.writable ? stream->share : (uint32_t)LB_H2_WHOLE_SHARE;
    return share < count ? share : count;
}

/* How much of it went out. */
static uint32_t send_some(struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_h2_stream *stream, const char *bytes,
                          uint32_t count)
{
    struct lb_h2_client *client = stream->client;
    uint32_t most = share_of(stream, count);
    int last = most == count && is_last(exchange);
    uint32_t sent = lb_h2_link_data(l7->ctx, &client->link, &client->client.side, &stream->window, stream->id, bytes, most, last);
    if (sent < most && (stream->window.left <= 0 || client->link.window.left <= 0))
        lb_add(&l7->ctx->row->http2_stalls, 1);
    stream->share -= sent < stream->share ? sent : stream->share;
    stream->said_end |= last && sent == count && count;
    client->full |= !lb_h2_link_takes(&client->link) || !client->client.side.writable;
    lb_h2_client_touch(l7, client);
    if (!stream->share)
        lb_h2_stream_served(stream);
    return sent;
}

enum lb_step lb_h2_send(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, size_t count)
{
    struct lb_h2_stream *stream = lb_h2_stream_of(exchange);
    if (!count)
        return LB_STEP_MOVED;
    uint32_t sent = send_some(l7, exchange, stream, bytes, (uint32_t)count);
    if (link_of(stream)->failed)
        return LB_STEP_TO_FAILED;
    if (sent == count)
        return LB_STEP_MOVED;
    if (!lb_sendq_can_hold(l7->ctx, count - sent)) {
        stream->error = LB_H2_INTERNAL_ERROR;
        return LB_STEP_TO_FAILED;
    }
    lb_sendq_preload(l7->ctx, &exchange->down, bytes + sent, (uint32_t)(count - sent));
    return LB_STEP_BLOCKED;
}

int lb_h2_flush(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_h2_stream *stream = lb_h2_stream_of(exchange);
    struct lb_flow *down = &exchange->down;
    if (!down->pending)
        return 1;
    lb_sendq_used(l7->ctx, down, send_some(l7, exchange, stream, lb_sendq_bytes(l7->ctx, down), down->pending));
    return link_of(stream)->failed ? -1 : !down->pending;
}

/* --- heads, and the end -------------------------------------------------------------------------------------------------- */

/* l7->message goes out as HEADERS. */
enum lb_step lb_h2_send_head(struct lb_l7 *l7, struct lb_h2_stream *stream, const char *bytes, const struct lb_h2_edits *edits,
                             int end_stream)
{
    struct lb_h2_link *link = link_of(stream);
    uint8_t *begin = lb_h2_link_block(l7->ctx, link, lb_h2_response_bytes(&l7->message, edits));
    if (!begin) {
        stream->error = LB_H2_INTERNAL_ERROR;
        return LB_STEP_TO_FAILED;
    }
    uint8_t *end = lb_h2_encode_response(begin, &link->fields_out, &l7->message, bytes, edits, l7->out + NAMES_AT);
    lb_h2_link_block_done(link, end, stream->id, end_stream);
    stream->said_end |= end_stream != 0;
    lb_h2_client_touch(l7, stream->client);
    return LB_STEP_MOVED;
}

static enum lb_step end_with(struct lb_l7 *l7, struct lb_h2_stream *stream, const char *lines, uint32_t count)
{
    struct lb_h2_link *link = link_of(stream);
    if (!lb_h2_link_takes(link))
        return LB_STEP_BLOCKED;
    uint8_t *begin = lb_h2_link_block(l7->ctx, link, lb_h2_trailers_bytes(count));
    if (!begin)
        return LB_STEP_TO_FAILED;
    uint8_t *end = lb_h2_encode_trailers(begin, &link->fields_out, lines, count, l7->out + NAMES_AT);
    lb_h2_link_block_done(link, end, stream->id, 1);
    return LB_STEP_MOVED;
}

/* END_STREAM, where it has not gone with the last bytes. */
enum lb_step lb_h2_send_end(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    static const char no_status[] = "grpc-status: 2\r\ngrpc-message: the backend sent no status\r\n"; /* UNKNOWN */
    struct lb_h2_stream *stream = lb_h2_stream_of(exchange);
    int responds = exchange->state == LB_EXCHANGE_RESPONDING;
    if (!responds && exchange->part_end)
        return end_with(l7, stream, lb_http_part(l7, exchange), exchange->part_end);
    if (!responds && lacks_status(exchange))
        return end_with(l7, stream, no_status, (uint32_t)sizeof(no_status) - 1);
    return lb_h2_link_end_stream(l7->ctx, link_of(stream), stream->id) < 0 ? LB_STEP_BLOCKED : LB_STEP_MOVED;
}
