#include "route.h"

#include <string.h>

#include "claim_headers.h"
#include "path.h"
#include "query.h"
#include "route_index.h"
#include "route_json.h"
#include "route_search.h"

/* Is this host in the route's map? */
static int look_up(const struct search *search, const struct lb_route_row *row, const char *host, uint32_t length,
                   uint32_t *found)
{
    const struct lb_routes *routes = search->routes;
    const struct entry *entry = index_find(&routes->maps, hash_of(KEY_MAPPED, row->map, host, length));
    if (!entry->hash)
        return 0;
    const struct lb_mapped_host *mapped = &routes->mapped[entry->value];
    if (mapped->map != row->map || !lb_same(routes->text + mapped->host, mapped->host_length, host, length))
        return 0;
    *found = entry->value;
    return 1;
}

/* The name itself comes before wildcards, and of these the longest. */
static int map_holds(const struct search *search, const struct lb_route_row *row, uint32_t *mapped)
{
    const char *host = search->host;
    uint32_t length = search->host_length;
    if (look_up(search, row, host, length, mapped))
        return 1;
    for (uint32_t i = 1; search->routes->wildcards && i + 1 < length; i++)
        if (host[i] == '.' && look_up(search, row, host + i, length - i, mapped))
            return 1;
    return 0;
}

/* Its alternatives alone led past it: of such routes the first is told. */
static void pass_by(struct search *search, uint32_t route)
{
    if (route >= search->passed)
        return;
    search->passed = route;
    search->way = search->looked;
    search->way.passed = (uint16_t)(search->routes->rows[route].number + 1);
}

static int row_holds(struct search *search, uint32_t route)
{
    const struct lb_routes *routes = search->routes;
    const struct lb_route_row *row = &routes->rows[route];
    if (row->listener != NONE && row->listener != search->listener)
        return 0;
    if (!search->message && (row->of_requests || row->status))
        return 0;
    if (row->methods_length &&
        !lb_route_names_method(routes->text + row->methods, row->methods_length, search->method, search->method_length))
        return 0;
    search->looked.held = search->looked.count = 0;
    enum lb_holds holds =
        row->condition_count ? lb_route_conditions_hold(search, row->condition, row->condition_count) : LB_HOLDS;
    if (holds == LB_FAILS && search->looked.count)
        pass_by(search, route);
    if (holds == LB_FAILS)
        return 0;
    if (row->path_kind == LB_ROUTE_PATH_REGEX &&
        !lb_route_expression_holds(search, &routes->expressions[route], row->path, row->path_length))
        return 0;
    uint32_t mapped = NONE;
    if (row->map && !map_holds(search, row, &mapped))
        return 0;
    if (holds == LB_UNDECIDED && route < search->undecided)
        search->undecided = route;
    if (holds != LB_HOLDS)
        return 0;
    search->mapped = mapped;
    search->held = search->looked.held;
    return 1;
}

/* Do the bytes of a key agree, and not just their hash? */
static int path_agrees(const struct search *search, uint32_t route, enum key_kind kind, uint32_t length)
{
    const struct lb_routes *routes = search->routes;
    const struct lb_route_row *row = &routes->rows[route];
    if (kind == KEY_ANY_PATH)
        return path_key(row) == kind;
    if (search->decoded)
        return decoded_key(path_key(row)) == kind &&
               lb_same(routes->decoded + row->path, routes->decoded_length[route], search->path, length);
    return path_key(row) == kind && lb_same(routes->text + row->path, row->path_length, search->path, length);
}

static void look(struct search *search, enum key_kind kind, uint64_t hash, uint32_t length)
{
    const struct lb_routes *routes = search->routes;
    const uint32_t *next = search->decoded && kind != KEY_ANY_PATH ? routes->next_decoded : routes->next;
    const struct entry *entry = index_find(&routes->keys, hash_end(hash));
    for (uint32_t route = entry->hash ? entry->value : NONE; route < search->best; route = next[route])
        if (path_agrees(search, route, kind, length) && row_holds(search, route))
            search->best = route;
}

/* All paths that routes of this host may name: none, each prefix by segment, the whole. */
static void search_host(struct search *search, uint32_t host)
{
    look(search, KEY_ANY_PATH, hash_start(KEY_ANY_PATH, host), 0);
    if (!search->message)
        return; /* TLS has no path */
    enum key_kind by_prefix = search->decoded ? KEY_PREFIX_DECODED : KEY_PREFIX;
    enum key_kind by_whole = search->decoded ? KEY_EXACT_DECODED : KEY_EXACT;
    uint64_t prefix = hash_start(by_prefix, host), exact = hash_start(by_whole, host);
    for (uint32_t i = 0; i < search->path_length; i++) {
        if (search->path[i] == '/')
            look(search, by_prefix, prefix, i);
        prefix = hash_on(prefix, search->path[i]);
        exact = hash_on(exact, search->path[i]);
    }
    if (search->path_length && search->path[search->path_length - 1] != '/')
        look(search, by_prefix, prefix, search->path_length);
    look(search, by_whole, exact, search->path_length);
}

static void search_named(struct search *search, enum key_kind kind, const char *host, uint32_t length)
{
    const struct entry *entry = index_find(&search->routes->hosts, hash_of(kind, 0, host, length));
    if (entry->hash)
        search_host(search, entry->value);
}

/* The host without case, port and final dot: its length, or 0 when it is too long to be named by a route. */
static uint32_t plain_host(const struct lb_message *message, const char *bytes, char host[LONGEST_HOST])
{
    uint32_t length = message->host.length;
    if (length > 1 && bytes[message->host.at + length - 1] == '.')
        length--;
    if (length > LONGEST_HOST)
        return 0;
    for (uint32_t i = 0; i < length; i++)
        host[i] = lb_lower(bytes[message->host.at + i]);
    return length;
}

static uint32_t first_match(struct search *search)
{
    const char *host = search->host;
    uint32_t length = search->host_length;
    search->best = search->undecided = search->passed = NONE;
    search_host(search, ANY_HOST);
    if (!length)
        return search->best;
    search_named(search, KEY_HOST, host, length);
    for (uint32_t i = 1; i + 1 < length; i++)
        if (host[i] == '.')
            search_named(search, KEY_WILDCARD, host + i, length - i);
    return search->best;
}

/* Where a search led to; otherwise: where no route does. */
static uint32_t pool_of(const struct search *search, const struct lb_routed_to *otherwise)
{
    if (search->best == NONE)
        return otherwise->pool;
    const struct lb_route_row *row = &search->routes->rows[search->best];
    return row->map ? search->routes->mapped[search->mapped].pool : row->pool;
}

/* What the search has to tell of alternatives. */
static struct lb_way way_of(const struct search *search)
{
    struct lb_way way = search->passed < search->best ? search->way : (struct lb_way){0};
    way.held = search->best == NONE ? 0 : search->held;
    return way;
}

static struct lb_routed_to lead(const struct lb_routes *routes, uint32_t route, uint32_t pool)
{
    const struct lb_route_row *row = &routes->rows[route];
    return (struct lb_routed_to){.pool = pool,
                                 .cost = row->cost,
                                 .route = (uint16_t)(row->number + 1),
                                 .retry_on = row->retry_on,
                                 .mirror = row->mirror,
                                 .mirror_percent = row->mirror_percent,
                                 .guard = row->guard,
                                 .held = row->held ? route + 1 : 0,
                                 .row = route + 1};
}

void lb_routes_match_name(struct lb_routes *routes, uint32_t listener, const struct lb_hello *hello, const uint8_t ip[16],
                          struct lb_routed_to *to)
{
    struct search search = {.routes = routes,
                            .hello = hello,
                            .ip = ip,
                            .host = hello->name,
                            .host_length = hello->name_length,
                            .path = "",
                            .listener = listener};
    uint32_t route = routes->head->count ? first_match(&search) : NONE;
    if (route != NONE)
        *to = lead(routes, route, pool_of(&search, to));
}

/* Does a path that the route names, or an expression, have this character? */
static int names(const struct lb_routes *routes, uint32_t route, char c)
{
    if (route == NONE)
        return 0;
    const struct lb_route_row *row = &routes->rows[route];
    int found = memchr(routes->text + row->path, c, row->path_length) != NULL;
    for (uint32_t i = 0; i < row->condition_count && !found; i++) {
        const struct lb_condition_row *condition = &routes->conditions[row->condition + i];
        found = is_of_path(condition) && memchr(routes->text + condition->value, c, condition->value_length);
    }
    return found;
}

/* --- other readings ------------------------------------------------------------------------------------------------- */

/* Of a path beside the one that is written. Whoever decodes twice, or takes parameters away, also makes one slash of several. */
static const uint8_t readings[] = {
    LB_PATH_SLASHED,
    LB_PATH_DECODED,
    LB_PATH_DECODED | LB_PATH_SLASHED,
    LB_PATH_BARE,
    LB_PATH_BARE | LB_PATH_DECODED | LB_PATH_SLASHED,
    LB_PATH_TWICE | LB_PATH_DECODED | LB_PATH_SLASHED,
    LB_PATH_TWICE | LB_PATH_BARE | LB_PATH_DECODED | LB_PATH_SLASHED,
};

/* Its pool; a route that says more than its pool is a place of its own, so that no other reading leads past what it limits, edits or
 * rewrites. */
static uint32_t place_of(const struct search *search, const struct lb_routed_to *otherwise)
{
    const struct lb_route_row *row = search->best == NONE ? NULL : &search->routes->rows[search->best];
    int own = row && (row->held || row->guard || row->editor || row->rewrites);
    return own ? (uint32_t)LB_ROUTE_HELD + row->number : pool_of(search, otherwise);
}

/* After a search by its usual reading. */
static int query_may_differ(const struct search *search)
{
    struct lb_span query = search->message->query;
    return search->repeated || lb_query_readings(search->bytes + query.at, query.length);
}

/* Does the request, its path as it is being read, lead elsewhere in any reading of its query? Where its body
 * has to tell, by_body says so. */
static int leads_elsewhere(struct search *search, uint32_t place, const struct lb_routed_to *otherwise)
{
    const struct lb_routes *routes = search->routes;
    struct lb_span query = search->message->query;
    unsigned may_differ = routes->queries ? lb_query_readings(search->bytes + query.at, query.length) : 0;
    int differs = 0;
    for (unsigned reading = 0; reading < 2 * LB_QUERY_LAST && !differs; reading++) {
        if (reading & ~may_differ)
            continue;
        search->query_reading = reading;
        search->repeated = 0;
        uint32_t other = first_match(search);
        search->by_body = search->undecided < other;
        differs = search->by_body || place_of(search, otherwise) != place;
        may_differ |= search->repeated ? LB_QUERY_LAST : 0u;
    }
    search->query_reading = LB_QUERY_AS_FORMS;
    return differs;
}

/* Does the path lead to another place in any reading? */
static int path_is_ambiguous(struct lb_routes *routes, struct search *search, uint32_t route, uint32_t place,
                             const struct lb_routed_to *to)
{
    struct lb_span path = search->message->path;
    int may_differ = (int)lb_path_readings(search->bytes + path.at, path.length) | (routes->escapes ? LB_PATH_DECODED : 0);
    may_differ |= may_differ & (LB_PATH_TWICE | LB_PATH_BARE) ? LB_PATH_DECODED : 0;
    if (names(routes, route, ';')) /* it speaks of parameters itself */
        may_differ &= ~LB_PATH_BARE;
    for (unsigned i = 0; i < sizeof readings; i++) {
        if (readings[i] & ~may_differ)
            continue;
        int64_t length = lb_path_normal(search->bytes + path.at, path.length, (enum lb_path_reading)readings[i], routes->read);
        if (length < 0)
            return 1;
        search->path = length ? routes->read : "/";
        search->path_length = length ? (uint32_t)length : 1;
        search->decoded = (readings[i] & LB_PATH_DECODED) != 0;
        if (leads_elsewhere(search, place, to))
            return 1;
    }
    return 0;
}

/* Does another method lead to another place, which frameworks take from a header? */
static int method_is_ambiguous(const struct lb_routes *routes, struct search *search, uint32_t place,
                               const struct lb_routed_to *to)
{
    static const char overrides[] = "x-http-method-override x-http-method x-method-override";
    const struct lb_message_head *head = &search->message->head;
    char method[LB_METHOD_BYTES];
    for (uint32_t i = 0; routes->methods && i < head->field_count; i++) {
        const struct lb_field *field = &head->fields[i];
        if (field->value.length > sizeof method ||
            !lb_claim_header_listed(overrides, search->bytes + field->name.at, field->name.length))
            continue;
        for (uint32_t at = 0; at < field->value.length; at++)
            method[at] = lb_upper(search->bytes[field->value.at + at]);
        search->method = method;
        search->method_length = field->value.length;
        if (leads_elsewhere(search, place, to))
            return 1;
    }
    return 0;
}

enum lb_routed lb_routes_match(struct lb_routes *routes, const struct lb_routed_client *client, const struct lb_message *message,
                               const char *bytes, const struct lb_json_said *said, struct lb_routed_to *to)
{
    char host[LONGEST_HOST];
    struct lb_span path = message->path, method = message->head.method;
    int plain = lb_path_is_plain(bytes + path.at, path.length);
    if (plain && !routes->head->count)
        return LB_ROUTED_NOWHERE;
    if (path.length > LONGEST_PATH)
        return LB_ROUTED_AMBIGUOUS;
    int64_t length = lb_path_normal(bytes + path.at, path.length, LB_PATH_AS_WRITTEN, routes->path);
    if (length < 0)
        return LB_ROUTED_AMBIGUOUS;
    struct search search = {
        .routes = routes,
        .message = message,
        .bytes = bytes,
        .method = bytes + method.at,
        .method_length = method.length,
        .path = length ? routes->path : "/",
        .path_length = length ? (uint32_t)length : 1,
        .ip = client->ip,
        .host = host,
        .host_length = plain_host(message, bytes, host),
        .listener = client->listener,
        .said = said,
    };
    search.written = search.path;
    uint32_t route = first_match(&search), pool = pool_of(&search, to), place = place_of(&search, to);
    if (search.undecided < route)
        return LB_ROUTED_BY_BODY;
    struct lb_way way = way_of(&search);
    if (method_is_ambiguous(routes, &search, place, to))
        return search.by_body ? LB_ROUTED_BY_BODY : LB_ROUTED_AMBIGUOUS;
    search.method = bytes + method.at;
    search.method_length = method.length;
    if (routes->queries && query_may_differ(&search) && leads_elsewhere(&search, place, to))
        return search.by_body ? LB_ROUTED_BY_BODY : LB_ROUTED_AMBIGUOUS;
    if ((!plain || routes->escapes) && path_is_ambiguous(routes, &search, route, place, to))
        return search.by_body ? LB_ROUTED_BY_BODY : LB_ROUTED_AMBIGUOUS;
    if (routes->json_count)
        to->json = lb_routes_json_why(routes, route, said, search.no_json);
    to->way = way;
    if (route == NONE)
        return LB_ROUTED_NOWHERE;
    uint8_t json = to->json;
    *to = lead(routes, route, pool);
    to->way = way;
    to->json = json;
    to->model = json == LB_JSON_MATCHED ? lb_routes_model(routes, route, said) : 0;
    return LB_ROUTED;
}
