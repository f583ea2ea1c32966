#include "route_answer.h"

#include <string.h>

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

struct lb_verdict lb_route_answer(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, uint32_t pool)
{
    const struct lb_routes *routes = l7->routes;
    uint32_t route = pool - LB_ROUTE_ANSWERS; /* of others: far beyond all routes */
    if (route >= routes->head->count)
        return lb_verdict_respond(404, "no matching route");
    const struct lb_route_row *row = &routes->rows[route];
    if (!row->location_length)
        return lb_verdict_respond((uint16_t)row->status, "a route denies it");
    if (!l7->message.host.length) /* HTTP/1.0 without a Host: there is nowhere to lead to */
        return lb_http_bad_request(l7, exchange, LB_READ_BAD);
    if (compose_location(l7, bytes, routes->text + row->location, row->location_length))
        return lb_verdict_respond(414, "the redirect would be too long");
    return lb_verdict_respond((uint16_t)row->status, "a route leads elsewhere");
}
