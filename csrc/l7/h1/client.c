#include "client.h"

#include <string.h>

#include "../../core/io.h"
#include "../../h2/names.h"
#include "../bad_request.h"
#include "../belongs.h"
#include "../exchanges.h"
#include "body.h"
#include "client_stream.h"
#include "../input.h"
#include "../request.h"
#include "unsent.h"

static struct lb_head_limits limits_of(const struct lb_listener_row *listener)
{
    return (struct lb_head_limits){listener->max_header_bytes, listener->max_target, listener->max_headers};
}

struct lb_exchange *lb_h1_take_exchange(struct lb_l7 *l7, struct lb_h1 *h1)
{
    struct lb_exchange *exchange = lb_exchange_take(l7, &h1->client);
    exchange->stream[LB_CLIENT] = lb_h1_client_stream(&h1->client);
    exchange->in = h1->in;
    h1->in = (struct lb_input){.buffer = LB_SLAB_NONE};
    h1->exchange = exchange;
    return exchange;
}

static struct lb_exchange *begin_exchange(struct lb_l7 *l7, struct lb_h1 *h1)
{
    struct lb_exchange *exchange = lb_h1_take_exchange(l7, h1);
    lb_http_count_request(l7, exchange);
    h1->unsent = 0;
    h1->asked = 1;
    return exchange;
}

/* --- a whole head --------------------------------------------------------------------------------------------------- */

/* Is h2c among the protocols, whatever its version? A tunnel of HTTP/2 would lead past all routes. */
static int offers_h2c(const char *bytes, struct lb_span protocols)
{
    uint32_t at = 0;
    for (;;) {
        struct lb_span protocol = lb_list_next(bytes, protocols, &at);
        const char *slash = protocol.length ? memchr(bytes + protocol.at, '/', protocol.length) : NULL;
        uint32_t length = slash ? (uint32_t)(slash - (bytes + protocol.at)) : protocol.length;
        if (!protocol.length || lb_same_word(bytes + protocol.at, length, "h2c", 3))
            return protocol.length != 0;
    }
}

/* What has come of its body, and whether it waits for 100 before it sends that. */
static enum lb_reading take_body(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, int trailers)
{
    const struct lb_message *message = &l7->message;
    exchange->in.next = exchange->in.start + message->head.bytes;
    enum lb_reading reading = lb_h1_first_of_request(l7, exchange, trailers);
    exchange->bytes_in += exchange->in.next - exchange->in.start;
    exchange->expects =
        message->expects && exchange->minor && !exchange->request.whole && exchange->bytes_in == message->head.bytes;
    if (exchange->expects)
        lb_h1_note_expectation(lb_h1_of(exchange->client), message, bytes);
    return reading;
}

/* The listener has clients of HTTP/2 alone. */
static struct lb_verdict not_spoken(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    lb_add(&l7->ctx->row->requests_bad, 1);
    exchange->persistent = 0;
    return lb_verdict_respond(LB_READ_VERSION, "only HTTP/2 is spoken here");
}

static struct lb_verdict begin(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_request_way way;
    const struct lb_message *message = &l7->message;
    const char *bytes = lb_input_at(l7, &exchange->in) + exchange->in.start;
    if (!(lb_http_listener(l7, exchange)->protocols & LB_SPEAKS_HTTP1))
        return not_spoken(l7, exchange);
    exchange->upgrade = message->upgrade && !offers_h2c(bytes, message->upgrade_to);
    exchange->stream[LB_CLIENT].chunks = message->head.minor;
    exchange->stream[LB_CLIENT].takes = message->head.minor ? LB_CHUNKS_TRAILERS : LB_CHUNKS_BARE;
    if (lb_http_look_at_request(l7, exchange, bytes, &way) < 0)
        return lb_http_bad_request(l7, exchange, LB_READ_BAD);
    enum lb_reading reading = take_body(l7, exchange, bytes, way.trailers);
    if (reading != LB_READ_DONE)
        return lb_http_bad_request(l7, exchange, reading);
    exchange->persistent = message->persistent && !lb_http_client_must_close(l7, exchange->client);
    return lb_http_route_request(l7, exchange, bytes, &way);
}

/* --- bytes from the client ------------------------------------------------------------------------------------------ */

static struct lb_verdict client_silent(struct lb_l7 *l7, struct lb_h1 *h1, ssize_t got)
{
    int blocked = got < 0 && errno == EAGAIN, later = got < 0 && errno == EBUSY, part = h1->in.end > h1->in.start;
    if (!part)
        lb_input_drop(l7, &h1->in);
    if (later)
        return lb_verdict(LB_NEXT_LATER);
    if (blocked) {
        h1->client.side.readable = 0;
        return lb_verdict(LB_NEXT_WAIT);
    }
    return lb_verdict_end(got < 0 || lb_input_has_begun(l7, &h1->in) ? LB_ENDED_CLIENT : LB_ENDED_DONE);
}

/* A head is larger than most, as its listener allows, and too many such are under way. */
static struct lb_verdict no_room(struct lb_l7 *l7, struct lb_h1 *h1)
{
    (void)begin_exchange(l7, h1);
    return lb_verdict_respond(503, "the balancer has no buffer left");
}

static struct lb_verdict fill(struct lb_l7 *l7, struct lb_h1 *h1)
{
    lb_input_pack(l7, &h1->in);
    if (h1->in.end == lb_heads_room(h1->in.buffer) && lb_heads_grow(l7->ctx, &l7->heads, &h1->in.buffer, h1->in.end) < 0)
        return no_room(l7, h1);
    size_t room = lb_heads_room(h1->in.buffer) - h1->in.end;
    ssize_t got = lb_side_recv(&h1->client.side, lb_input_at(l7, &h1->in) + h1->in.end, room);
    if (got <= 0)
        return client_silent(l7, h1, got);
    lb_side_got(&h1->client.side, (size_t)got, room); /* emptied: what comes next raises an edge */
    if (!lb_input_has_begun(l7, &h1->in)) {
        h1->client.since_ms = (uint32_t)lb_now_ms(l7->ctx);
        h1->in.seen = 0;
    }
    h1->in.end += (uint32_t)got;
    lb_add(&l7->ctx->row->bytes_in, (uint64_t)got);
    return lb_verdict(LB_NEXT_AGAIN);
}

/* 417 was passed on, and what comes is not another request yet. */
static struct lb_verdict take_unsent(struct lb_l7 *l7, struct lb_h1 *h1)
{
    switch (lb_h1_unsent(l7, h1)) {
    case LB_UNSENT_OPEN:
        return h1->client.side.readable ? fill(l7, h1) : lb_verdict(LB_NEXT_WAIT);
    case LB_UNSENT_SETTLED:
        return lb_verdict(LB_NEXT_AGAIN);
    case LB_UNSENT_BODY:
        break;
    }
    (void)lb_side_finish(&h1->client.side);
    return lb_verdict(LB_NEXT_LINGER);
}

/* Do the connection's first words begin HTTP/2 (RFC 9113 3.4), which its listener speaks? */
static int is_preface(const struct lb_l7 *l7, const struct lb_h1 *h1, const char *bytes, uint32_t count)
{
    uint32_t known = count < LB_H2_PREFACE_BYTES ? count : LB_H2_PREFACE_BYTES;
    return !h1->asked && lb_http_client_listener(l7, &h1->client)->protocols & LB_SPEAKS_HTTP2 &&
           memcmp(bytes, LB_H2_PREFACE, known) == 0;
}

struct lb_verdict lb_h1_take_request(struct lb_l7 *l7, struct lb_h1 *h1)
{
    if (h1->unsent)
        return take_unsent(l7, h1);
    struct lb_head_limits limits = limits_of(lb_http_client_listener(l7, &h1->client));
    uint32_t count = h1->in.end - h1->in.start;
    const char *bytes = count ? lb_input_at(l7, &h1->in) + h1->in.start : NULL;
    if (!count || (h1->in.seen && lb_head_waits(bytes, h1->in.seen, count, &limits))) {
        h1->in.seen = count;
        return h1->client.side.readable ? fill(l7, h1) : lb_verdict(LB_NEXT_WAIT);
    }
    enum lb_reading reading = lb_message_request(&l7->message, bytes, count, &limits);
    h1->in.seen = count;
    if (reading == LB_READ_PARTIAL)
        return h1->client.side.readable ? fill(l7, h1) : lb_verdict(LB_NEXT_WAIT);
    if (reading == LB_READ_VERSION && is_preface(l7, h1, bytes, count))
        return lb_verdict(LB_NEXT_HTTP2);
    struct lb_exchange *exchange = begin_exchange(l7, h1);
    return reading == LB_READ_DONE ? begin(l7, exchange) : lb_http_bad_request(l7, exchange, reading);
}
