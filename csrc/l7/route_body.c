#include "route_body.h"

#include "belongs.h"
#include "json_body.h"
#include "request.h"
#include "text_body.h"

enum { LEAST_ROOM = 1024 }; /* in the buffer, for the next read */

static struct lb_json_body *reading_of(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    return lb_slab_at(&l7->readings, exchange->reading);
}

/* From the body's beginning, by the routes as they are now. */
static void begin(struct lb_l7 *l7, struct lb_json_body *body)
{
    uint32_t count;
    const struct lb_json_path *keys = lb_routes_json(l7->routes, &count);
    lb_json_body_begin(body, keys, count, l7->message.head.bytes);
    body->version = l7->routes_version;
}

/* Not even a large buffer has room for more: of a body in tiny chunks it holds less than its content. */
static int is_full(const struct lb_input *in)
{
    return lb_heads_room(in->buffer) == LB_MOST_READ && LB_MOST_READ - in->end < LEAST_ROOM;
}

/* A buffer that is full gives way to a large one: 0, or -1 where none is left. */
static int make_room(struct lb_l7 *l7, struct lb_input *in)
{
    if (lb_heads_room(in->buffer) - in->end >= LEAST_ROOM)
        return 0;
    return lb_heads_grow(l7->ctx, &l7->heads, &in->buffer, in->end);
}

/* Ask the routes again, or see whether the policy knows enough. */
static struct lb_verdict decide(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_json_body *body)
{
    if (body->text.blocks)
        return lb_verdict(lb_text_is_there(l7, exchange, body) ? LB_NEXT_ATTEMPT : LB_NEXT_READ);
    return lb_http_route_by_body(l7, exchange, lb_input_at(l7, &exchange->in) + exchange->in.start, &body->said);
}

/* Read what is there, and ask again. l7->message is the request. */
static struct lb_verdict look(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_json_body *body)
{
    uint32_t most = lb_http_listener(l7, exchange)->json_bytes;
    struct lb_input *in = &exchange->in;
    lb_json_body_read(body, lb_input_at(l7, in) + in->start, in->next - in->start, exchange->request.framing == LB_BODY_CHUNKED,
                      most);
    if (exchange->request.whole || body->said.over || body->content >= most || is_full(in))
        lb_json_body_end(body, exchange->request.whole && body->content < most);
    struct lb_verdict found = decide(l7, exchange, body);
    if (found.next != LB_NEXT_READ || make_room(l7, in) >= 0)
        return found;
    if (!body->text.blocks)
        return lb_verdict_respond(503, "the balancer has no buffer left");
    lb_json_body_end(body, 0); /* the policy goes by what there is */
    return decide(l7, exchange, body);
}

/* The client waits to be told that its body is wanted (RFC 9110 10.1.1): it is, whoever serves it. */
static struct lb_verdict say_continue(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    static const char line[] = "HTTP/1.1 100 Continue\r\n\r\n";
    static const struct lb_head_limits limits = {LB_MOST_HEAD, LB_MOST_HEAD, LB_FIELD_ROOM};
    struct lb_head_out out = {.bytes = line};
    exchange->expects = 0;
    if (lb_message_response(&l7->message, line, sizeof line - 1, &limits, LB_POST) != LB_READ_DONE)
        __builtin_trap(); /* we have written it ourselves */
    lb_add(&l7->ctx->row->responses_1xx, 1);
    if (exchange->stream[LB_CLIENT].ops->head(l7, exchange, &out) != LB_STEP_MOVED)
        return lb_verdict_end(LB_ENDED_CLIENT);
    return lb_verdict(LB_NEXT_HOLD);
}

static struct lb_verdict first_look(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_verdict found = look(l7, exchange, reading_of(l7, exchange));
    if (found.next != LB_NEXT_READ) {
        lb_http_drop_reading(l7, exchange);
        return found;
    }
    return exchange->expects ? say_continue(l7, exchange) : lb_verdict(LB_NEXT_HOLD);
}

struct lb_verdict lb_http_look_at_body(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    exchange->reading = lb_slab_take(&l7->readings); /* as many as exchanges */
    begin(l7, reading_of(l7, exchange));
    return first_look(l7, exchange);
}

struct lb_verdict lb_http_look_at_text(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    exchange->reading = lb_slab_take(&l7->readings);
    lb_text_begin(l7, exchange, reading_of(l7, exchange));
    return first_look(l7, exchange);
}

struct lb_verdict lb_http_read_body(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_json_body *body = reading_of(l7, exchange);
    uint64_t before = exchange->bytes_in;
    struct lb_verdict more = exchange->stream[LB_CLIENT].ops->more(l7, exchange, 0);
    if (lb_verdict_decides(more) || (exchange->bytes_in == before && !exchange->request.whole))
        return more;
    lb_http_moved(l7, exchange);
    lb_http_recall(l7, exchange);
    if (!body->text.blocks && body->version != l7->routes_version)
        begin(l7, body);
    struct lb_verdict found = look(l7, exchange, body);
    if (found.next == LB_NEXT_READ)
        return more;
    lb_http_drop_reading(l7, exchange);
    return found;
}
