#include "route.h"

#include <string.h>

#include "claim_headers.h"
#include "json_condition.h"
#include "path.h"
#include "route_index.h"

/* --- conditions ----------------------------------------------------------------------------------------------------- */

const struct lb_field *lb_field_find(const struct lb_message *message, const char *bytes, const char *name, uint32_t length)
{
    for (uint32_t i = 0; i < message->head.field_count; i++) {
        const struct lb_field *field = &message->head.fields[i];
        if (lb_same_word(bytes + field->name.at, field->name.length, name, length))
            return field;
    }
    return NULL;
}

/* From *at in one Cookie field: name=value pairs apart by "; ". */
static struct lb_span cookie_in(const char *bytes, struct lb_span list, uint32_t *from, const char *name, uint32_t length)
{
    uint32_t at = *from ? *from : list.at, stop = list.at + list.length;
    while (at < stop) {
        while (at < stop && (bytes[at] == ' ' || bytes[at] == '\t' || bytes[at] == ';'))
            at++;
        uint32_t end = at;
        while (end < stop && bytes[end] != ';')
            end++;
        *from = end;
        if (end - at > length && bytes[at + length] == '=' && memcmp(bytes + at, name, length) == 0)
            return (struct lb_span){at + length + 1, end - at - length - 1};
        at = end;
    }
    return (struct lb_span){NONE, 0};
}

struct lb_span lb_cookie_next(const struct lb_message *message, const char *bytes, const char *name, uint32_t length,
                              struct lb_cookie_look *look)
{
    for (; look->field < message->head.field_count; look->field++, look->at = 0) {
        const struct lb_field *field = &message->head.fields[look->field];
        if (field->known != LB_COOKIE)
            continue;
        struct lb_span found = cookie_in(bytes, field->value, &look->at, name, length);
        if (found.at != NONE)
            return found;
    }
    return (struct lb_span){NONE, 0};
}

struct lb_span lb_cookie_find(const struct lb_message *message, const char *bytes, const char *name, uint32_t length)
{
    struct lb_cookie_look look = {0, 0};
    return lb_cookie_next(message, bytes, name, length, &look);
}

/* Any field of that name may satisfy it. */
static int header_holds(const struct lb_message *message, const char *bytes, const struct lb_condition_row *condition,
                        const char *text)
{
    for (uint32_t i = 0; i < message->head.field_count; i++) {
        const struct lb_field *field = &message->head.fields[i];
        if (!lb_same_word(bytes + field->name.at, field->name.length, text + condition->name, condition->name_length))
            continue;
        if (condition->present ||
            lb_same(bytes + field->value.at, field->value.length, text + condition->value, condition->value_length))
            return 1;
    }
    return 0;
}

static int condition_holds(const struct lb_message *message, const char *bytes, const struct lb_condition_row *condition,
                           const char *text)
{
    if (condition->kind == LB_CONDITION_HEADER)
        return header_holds(message, bytes, condition, text);
    if (condition->kind != LB_CONDITION_COOKIE)
        return 0;
    struct lb_span value = lb_cookie_find(message, bytes, text + condition->name, condition->name_length);
    if (value.at == NONE)
        return 0;
    return condition->present || lb_same(bytes + value.at, value.length, text + condition->value, condition->value_length);
}

/* methods: names apart by spaces. */
static int method_holds(const char *methods, uint32_t methods_length, const char *method, uint32_t length)
{
    uint32_t at = 0;
    while (at < methods_length) {
        uint32_t end = at;
        while (end < methods_length && methods[end] != ' ')
            end++;
        if (lb_same(methods + at, end - at, method, length))
            return 1;
        at = end + 1;
    }
    return 0;
}

/* A request under way through the index. */
struct search {
    const struct lb_routes *routes;
    const struct lb_message *message; /* NULL: a TLS client, */
    const struct lb_hello *hello;     /* which said this */
    const char *bytes;
    const char *method;
    uint32_t method_length;
    int decoded;      /* the path is compared with decoded ones */
    const char *path; /* normal, NUL-ended */
    uint32_t path_length;
    const char *written; /* as it is written, likewise */
    uint32_t listener;
    const struct lb_json_said *said; /* by its body; NULL: it was not looked at */
    uint32_t best;                   /* the first route that matched so far */
    uint32_t undecided;              /* the first that may match, by what more of the body says */
    int by_body;                     /* such a one came before the best */
};

/* What is said of a key in the body. One that has not come yet is undecided, where the head speaks of JSON at all. */
static enum lb_holds json_holds(const struct search *search, const struct lb_condition_row *condition)
{
    const struct lb_routes *routes = search->routes;
    if (!search->said)
        return lb_json_is_body(search->message, search->bytes) ? LB_UNDECIDED : LB_FAILS;
    return lb_json_condition_holds(search->said, lb_routes_json_key(routes, condition), (int)condition->present,
                                   routes->text + condition->value, condition->value_length);
}

static int hello_holds(const struct search *search, const struct lb_route_row *row)
{
    const struct lb_routes *routes = search->routes;
    if (row->methods_length || row->status)
        return 0;
    for (uint32_t i = 0; i < row->condition_count; i++) {
        const struct lb_condition_row *condition = &routes->conditions[row->condition + i];
        if (condition->kind != LB_CONDITION_ALPN ||
            !lb_hello_offers(search->hello, routes->text + condition->value, condition->value_length))
            return 0;
    }
    return 1;
}

/* Does its path, or its expression, have this character? */
static int names(const struct lb_routes *routes, uint32_t route, char c)
{
    return route != NONE && memchr(routes->text + routes->rows[route].path, c, routes->rows[route].path_length);
}

/* An expression that names an escape means what is written. */
static int expression_holds(const struct search *search, uint32_t route)
{
    const char *path = names(search->routes, route, '%') ? search->written : search->path;
    return regexec(&search->routes->expressions[route], path, 0, NULL, 0) == 0;
}

/* Those of the body come last in a row: they are looked at where all else holds. */
static enum lb_holds conditions_hold(const struct search *search, const struct lb_route_row *row)
{
    const struct lb_routes *routes = search->routes;
    enum lb_holds all = LB_HOLDS;
    for (uint32_t i = 0; i < row->condition_count && all != LB_FAILS; i++) {
        const struct lb_condition_row *condition = &routes->conditions[row->condition + i];
        enum lb_holds this = LB_HOLDS;
        if (condition->kind == LB_CONDITION_JSON)
            this = json_holds(search, condition);
        else if (!condition_holds(search->message, search->bytes, condition, routes->text))
            this = LB_FAILS;
        all = this == LB_HOLDS ? all : this;
    }
    return all;
}

static int row_holds(struct search *search, uint32_t route)
{
    const struct lb_routes *routes = search->routes;
    const struct lb_route_row *row = &routes->rows[route];
    const struct lb_message *message = search->message;
    if (row->listener != NONE && row->listener != search->listener)
        return 0;
    if (!message)
        return hello_holds(search, row);
    if (row->methods_length &&
        !method_holds(routes->text + row->methods, row->methods_length, search->method, search->method_length))
        return 0;
    enum lb_holds holds = conditions_hold(search, row);
    if (holds == LB_FAILS || (row->path_kind == LB_ROUTE_PATH_REGEX && !expression_holds(search, route)))
        return 0;
    if (holds == LB_UNDECIDED && route < search->undecided)
        search->undecided = route;
    return holds == LB_HOLDS;
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

/* host: in lower case, without a final dot; length 0: none. */
static uint32_t first_match_of(struct search *search, const char *host, uint32_t length)
{
    search->best = search->undecided = NONE;
    search_host(search, ANY_HOST);
    if (!length)
        return search->best;
    search_named(search, KEY_HOST, host, length);
    for (uint32_t i = 1; i + 1 < length; i++)
        if (host[i] == '.')
            search_named(search, KEY_WILDCARD, host + i, length - i);
    return search->best;
}

static uint32_t first_match(struct search *search)
{
    char host[LONGEST_HOST];
    uint32_t length = plain_host(search->message, search->bytes, host);
    return first_match_of(search, host, length);
}

static struct lb_routed_to lead(const struct lb_routes *routes, uint32_t route)
{
    const struct lb_route_row *row = &routes->rows[route];
    return (struct lb_routed_to){.pool = row->pool,
                                 .cost = row->cost,
                                 .route = (uint16_t)(row->number + 1),
                                 .retry_on = row->retry_on,
                                 .held = row->held ? route + 1 : 0};
}

void lb_routes_match_name(struct lb_routes *routes, uint32_t listener, const struct lb_hello *hello, struct lb_routed_to *to)
{
    struct search search = {.routes = routes, .hello = hello, .path = "", .listener = listener};
    uint32_t route = routes->head->count ? first_match_of(&search, hello->name, hello->name_length) : NONE;
    if (route != NONE)
        *to = lead(routes, route);
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

/* Its pool; a route that says more than its pool is a place of its own, so that no other reading leads past what it limits. */
static uint32_t place_of(const struct lb_routes *routes, uint32_t route, const struct lb_routed_to *otherwise)
{
    if (route == NONE)
        return otherwise->pool;
    return routes->rows[route].held ? LB_ROUTE_ANSWERS + route : routes->rows[route].pool;
}

/* Does the request, as it is read now, lead to another place? Where its body has to tell, by_body says so. */
static int leads_elsewhere(struct search *search, uint32_t route, const struct lb_routed_to *to)
{
    uint32_t other = first_match(search);
    search->by_body = search->undecided < other;
    return search->by_body || place_of(search->routes, other, to) != place_of(search->routes, route, to);
}

/* Does the path lead to another place in any reading? */
static int path_is_ambiguous(struct lb_routes *routes, struct search *search, uint32_t route, const struct lb_routed_to *to)
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
        if (leads_elsewhere(search, route, to))
            return 1;
    }
    return 0;
}

/* Does another method lead to another place, which frameworks take from a header? */
static int method_is_ambiguous(const struct lb_routes *routes, struct search *search, uint32_t route,
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
        if (leads_elsewhere(search, route, to))
            return 1;
    }
    return 0;
}

enum lb_routed lb_routes_match(struct lb_routes *routes, uint32_t listener, const struct lb_message *message, const char *bytes,
                               const struct lb_json_said *said, struct lb_routed_to *to)
{
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
        .listener = listener,
        .said = said,
    };
    search.written = search.path;
    uint32_t route = first_match(&search);
    if (search.undecided < route)
        return LB_ROUTED_BY_BODY;
    if (method_is_ambiguous(routes, &search, route, to))
        return search.by_body ? LB_ROUTED_BY_BODY : LB_ROUTED_AMBIGUOUS;
    search.method = bytes + method.at;
    search.method_length = method.length;
    if ((!plain || routes->escapes) && path_is_ambiguous(routes, &search, route, to))
        return search.by_body ? LB_ROUTED_BY_BODY : LB_ROUTED_AMBIGUOUS;
    if (route == NONE)
        return LB_ROUTED_NOWHERE;
    *to = lead(routes, route);
    return LB_ROUTED;
}

const struct lb_json_path *lb_routes_json(const struct lb_routes *routes, uint32_t *count)
{
    *count = routes->json_count;
    return routes->json;
}
