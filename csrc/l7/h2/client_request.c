#include "client_request.h"

#include "../../core/random.h"
#include "../bad_request.h"
#include "../belongs.h"
#include "client_stream.h"
#include "upload.h"
#include "../input.h"
#include "../request.h"

enum { KEY_BYTES = 24 }; /* of Sec-WebSocket-Key: 16 bytes in base64 */

/* --- a header block that is whole ----------------------------------------------------------------------------------------- */

/* RFC 8441 leaves it out; a server of HTTP/1.1 asks for it (RFC 6455 4.1). */
static void make_key(struct lb_l7 *l7, char key[KEY_BYTES])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (int i = 0; i < KEY_BYTES - 2; i++)
        key[i] = digits[lb_random_next(&l7->random) >> 58];
    key[KEY_BYTES - 3] = digits[lb_random_next(&l7->random) >> 58 & 48]; /* its last four bits say nothing */
    key[KEY_BYTES - 2] = key[KEY_BYTES - 1] = '=';
}

/* The request as HTTP/1.1 has it, into the exchange's buffer: 0, or -1 where no buffer has the room. */
static int compose(struct lb_l7 *l7, struct lb_h2_client *client, struct lb_h2_stream *stream)
{
    const struct lb_h2_request *request = &client->request;
    const char *lines = lb_h2_block_lines(l7, &client->link.block);
    struct lb_input *in = &stream->exchange->in;
    char key[KEY_BYTES];
    int end_stream = client->link.block.end_stream;
    uint32_t most = lb_h2_request_most(request, end_stream);
    in->buffer = end_stream ? lb_heads_take_small(&l7->heads, most) : lb_heads_take(&l7->heads);
    int fits = most <= lb_heads_room(in->buffer) || lb_heads_grow(l7->ctx, &l7->heads, &in->buffer, 0) == 0;
    if (!fits || most > lb_heads_room(in->buffer))
        return -1;
    if (request->protocol.length)
        make_key(l7, key);
    in->end = lb_h2_request_compose(lb_input_at(l7, in), request, lines, end_stream, key);
    return 0;
}

/* What is refused before it is read; LB_READ_DONE: nothing is. */
static enum lb_reading refusal_of(const struct lb_l7 *l7, const struct lb_h2_client *client)
{
    if (client->link.block.too_large)
        return LB_READ_HEAD_LARGE;
    if (client->request.fields > lb_http_client_listener(l7, &client->client)->max_headers)
        return LB_READ_HEAD_LARGE;
    return client->request.ambiguous ? LB_READ_BAD : LB_READ_DONE;
}

static int is_malformed(const struct lb_l7 *l7, const struct lb_h2_client *client)
{
    const struct lb_h2_block *block = &client->link.block;
    const char *lines = lb_h2_block_lines(l7, block);
    return client->depends || client->request.malformed ||
           (!block->too_large && (!lines || lb_h2_request_is_malformed(&client->request, lines)));
}

/* All that is open of clients of HTTP/2, beside one exchange for each client of HTTP/1 that may come. */
static int has_place(const struct lb_l7 *l7, const struct lb_h2_client *client)
{
    return client->streams < lb_http_client_listener(l7, &client->client)->max_streams &&
           l7->h2.streams.used < l7->h2.streams.capacity;
}

enum lb_h2_error lb_h2_client_request(struct lb_l7 *l7, struct lb_h2_client *client)
{
    const struct lb_h2_block *block = &client->link.block;
    if (is_malformed(l7, client)) {
        lb_add(&l7->ctx->row->requests_bad, 1);
        return LB_H2_PROTOCOL_ERROR;
    }
    struct lb_h2_stream *stream = has_place(l7, client) ? lb_h2_stream_open(l7, client, block->stream) : NULL;
    if (!stream) {
        lb_add(&l7->ctx->row->http2_streams_refused, 1);
        return LB_H2_REFUSED_STREAM;
    }
    stream->exchange->stream[LB_CLIENT] = lb_h2_client_stream(stream);
    stream->ended = block->end_stream != 0;
    stream->tunnels = client->request.protocol.length != 0;
    stream->refused = (uint16_t)refusal_of(l7, client);
    if (!stream->refused && compose(l7, client, stream) < 0)
        stream->refused = LB_READ_HEAD_LARGE;
    lb_h2_stream_ready(l7, stream);
    return LB_H2_NO_ERROR;
}

/* --- its beginning ---------------------------------------------------------------------------------------------------------- */

static enum lb_reading read_request(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes)
{
    const struct lb_listener_row *listener = lb_http_listener(l7, exchange);
    struct lb_head_limits limits = {listener->max_header_bytes, listener->max_target, listener->max_headers};
    return lb_message_request(&l7->message, bytes, exchange->in.end, &limits);
}

/* Not even its length agrees with what came: it is malformed, and no backend gets it (RFC 9113 8.1.1). */
static struct lb_verdict malformed(struct lb_l7 *l7, struct lb_h2_stream *stream)
{
    lb_add(&l7->ctx->row->requests_bad, 1);
    stream->error = LB_H2_PROTOCOL_ERROR;
    return lb_verdict_end(LB_ENDED_CLIENT);
}

struct lb_verdict lb_h2_client_begin(struct lb_l7 *l7, struct lb_h2_stream *stream)
{
    struct lb_exchange *exchange = stream->exchange;
    struct lb_request_way way;
    stream->begun = 1;
    lb_http_count_request(l7, exchange);
    exchange->persistent = 1;
    if (stream->refused)
        return lb_http_bad_request(l7, exchange, (enum lb_reading)stream->refused);
    const char *bytes = lb_input_at(l7, &exchange->in);
    enum lb_reading reading = read_request(l7, exchange, bytes);
    if (reading != LB_READ_DONE)
        return lb_http_bad_request(l7, exchange, reading == LB_READ_PARTIAL ? LB_READ_BAD : reading);
    const struct lb_message *message = &l7->message;
    exchange->upgrade = stream->tunnels;
    if (lb_http_look_at_request(l7, exchange, bytes, &way) < 0)
        return lb_http_bad_request(l7, exchange, LB_READ_BAD);
    exchange->in.next = exchange->in.end;
    exchange->bytes_in = message->head.bytes;
    reading = lb_h2_upload_begin(l7, exchange, way.trailers);
    if (stream->error)
        return malformed(l7, stream);
    if (reading != LB_READ_DONE)
        return lb_http_bad_request(l7, exchange, reading);
    exchange->expects = message->expects && !exchange->request.whole && exchange->bytes_in == message->head.bytes;
    return lb_http_route_request(l7, exchange, bytes, &way);
}
