#include "route_answer.h"

#include <string.h>

#include "../table/why.h"
#include "bad_request.h"
#include "route_index.h"

struct location {
    char *to;
    uint32_t length;
    int full;
};

static void put(struct location *location, const char *bytes, uint32_t count)
{
    if (count > LB_LOCATION_BYTES - location->length) {
        location->full = 1;
        return;
    }
    memcpy(location->to + location->length, bytes, count);
    location->length += count;
}

static void put_span(struct location *location, const char *bytes, struct lb_span span)
{
    put(location, bytes + span.at, span.length);
}

/* The variable that stands there, in braces: its length, 0: none. What it means goes as it was written: escapes stay, and no
 * request's host, path or query has a control character. */
static uint32_t put_variable(struct location *location, const struct lb_message *message, const char *bytes, const char *form,
                             uint32_t room)
{
    if (room >= 6 && memcmp(form, "{host}", 6) == 0) {
        put_span(location, bytes, message->host);
        return 6;
    }
    if (room >= 6 && memcmp(form, "{path}", 6) == 0) {
        if (message->path.length)
            put_span(location, bytes, message->path);
        else
            put(location, "/", 1);
        return 6;
    }
    if (room >= 7 && memcmp(form, "{query}", 7) == 0) {
        put_span(location, bytes, message->query);
        return 7;
    }
    return 0;
}

/* By the route's template: 0, or -1 where it is too long. */
static int compose_location(struct lb_l7 *l7, const char *bytes, const char *form, uint32_t length)
{
    struct location location = {l7->location, 0, 0};
    for (uint32_t at = 0; at < length && !location.full;) {
        uint32_t taken = form[at] == '{' ? put_variable(&location, &l7->message, bytes, form + at, length - at) : 0;
        if (!taken)
            put(&location, form + at, taken = 1);
        at += taken;
    }
    l7->location[location.length] = 0;
    return location.full ? -1 : 0;
}

/* As the route's row says it. */
static struct lb_verdict answer(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, uint32_t route)
{
    const struct lb_route_row *row = &l7->routes->rows[route];
    struct lb_verdict said = {.next = LB_NEXT_ANSWER, .status = row->status, .number = route, .why = "a route denies it"};
    if (!row->answer_length)
        return said;
    said.why = "a route responds by itself";
    if (!is_redirect(row))
        return said;
    said.why = "a route leads elsewhere";
    if (!l7->message.host.length) /* HTTP/1.0 without a Host: there is nowhere to lead to */
        return lb_http_bad_request(l7, exchange, LB_READ_BAD);
    if (compose_location(l7, bytes, l7->routes->text + row->answer, row->answer_length))
        return lb_verdict_respond(414, "the redirect would be too long");
    return said;
}

struct lb_verdict lb_route_answer(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes,
                                  const struct lb_routed_to *to)
{
    uint32_t route = to->pool - LB_ROUTE_ANSWERS; /* of others: far beyond all routes */
    int answers = route < l7->routes->head->count;
    struct lb_verdict said = answers ? answer(l7, exchange, bytes, route) : lb_verdict_respond(404, "no matching route");
    lb_why_answer(&l7->ctx->shm, l7->ctx->worker, answers ? LB_WHY_ANSWER : LB_WHY_NO_ROUTE, to->route, said.status,
                  l7->ctx->now_us);
    if (lb_way_tells(&to->way))
        lb_why_way(&l7->ctx->shm, l7->ctx->worker, &to->way);
    return said;
}

struct lb_route_answer lb_route_answered(const struct lb_l7 *l7, struct lb_verdict said)
{
    struct lb_route_answer answered = {0};
    if (said.next != LB_NEXT_ANSWER)
        return answered;
    const struct lb_route_row *row = &l7->routes->rows[said.number];
    if (is_redirect(row)) {
        answered.location = l7->location;
    } else if (row->answer_length) {
        answered.type = l7->routes->text + row->answer;
        uint32_t type = (uint32_t)strlen(answered.type) + 1;
        answered.body = answered.type + type;
        answered.body_length = row->answer_length - type;
    }
    return answered;
}
