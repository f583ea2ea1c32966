#include "route.h"

#include <errno.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "path.h"

enum { NONE = UINT32_MAX, ANY_HOST = 0, LONGEST_HOST = 255, LONGEST_PATH = 32768 };

/* Kinds of keys in the index; each hashes apart. */
enum key_kind { KEY_ANY_PATH, KEY_EXACT, KEY_PREFIX, KEY_HOST, KEY_WILDCARD };

struct entry {
    uint64_t hash; /* 0: free */
    uint32_t value; /* first route of a chain, or a host's number */
};

/* Open addressing, a power of two, at most half full. */
struct index {
    struct entry *entries;
    uint64_t mask;
};

struct lb_routes {
    char *copy; /* of the published bytes; what follows points into it */
    const struct lb_routes_head *head;
    const struct lb_route_row *rows;
    const struct lb_condition_row *conditions;
    const char *text;
    struct index hosts;
    struct index keys;
    uint32_t *next;      /* by route: the next of the same key */
    regex_t *expressions; /* by route; compiled for those that have one */
    uint8_t *compiled;
    char path[LONGEST_PATH + 2]; /* where a request's path is made normal */
};

/* --- hashing -------------------------------------------------------------------------------------------------------- */

static uint64_t hash_start(enum key_kind kind, uint32_t host)
{
    return UINT64_C(14695981039346656037) ^ ((uint64_t)host << 8 | (uint64_t)kind) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline uint64_t hash_on(uint64_t hash, char c)
{
    return (hash ^ (uint8_t)c) * UINT64_C(1099511628211); /* FNV-1a */
}

static uint64_t hash_end(uint64_t hash)
{
    hash ^= hash >> 32;
    return hash ? hash : 1;
}

static uint64_t hash_of(enum key_kind kind, uint32_t host, const char *bytes, uint32_t length)
{
    uint64_t hash = hash_start(kind, host);
    for (uint32_t i = 0; i < length; i++)
        hash = hash_on(hash, bytes[i]);
    return hash_end(hash);
}

static int index_open(struct index *index, uint32_t entries)
{
    uint64_t size = 16;
    while (size < 2 * (uint64_t)entries)
        size *= 2;
    index->mask = size - 1;
    index->entries = calloc(size, sizeof *index->entries);
    return index->entries ? 0 : -ENOMEM;
}

/* The entry of this hash, or the free one where it belongs. */
static struct entry *index_find(const struct index *index, uint64_t hash)
{
    uint64_t at = hash & index->mask;
    while (index->entries[at].hash && index->entries[at].hash != hash)
        at = (at + 1) & index->mask;
    return &index->entries[at];
}

/* --- compiling ------------------------------------------------------------------------------------------------------ */

static int text_ok(const struct lb_routes *routes, uint32_t at, uint32_t length)
{
    return at <= routes->head->text_bytes && length <= routes->head->text_bytes - at;
}

static int row_ok(const struct lb_routes *routes, const struct lb_route_row *row)
{
    if (!text_ok(routes, row->host, row->host_length) || !text_ok(routes, row->path, row->path_length) ||
        !text_ok(routes, row->methods, row->methods_length) || row->host_length > LONGEST_HOST ||
        row->condition > routes->head->conditions || row->condition_count > routes->head->conditions - row->condition)
        return 0;
    for (uint32_t i = 0; i < row->condition_count; i++) {
        const struct lb_condition_row *condition = &routes->conditions[row->condition + i];
        if (!text_ok(routes, condition->name, condition->name_length) ||
            !text_ok(routes, condition->value, condition->value_length))
            return 0;
    }
    return 1;
}

/* Bytes that published routes take; as large as the room for more. */
static uint64_t bytes_of(const struct lb_routes_head *head)
{
    uint64_t bytes = sizeof *head + (uint64_t)head->count * sizeof(struct lb_route_row) +
                     (uint64_t)head->conditions * sizeof(struct lb_condition_row) + head->text_bytes;
    return bytes < LB_ROUTES_BYTES ? bytes : LB_ROUTES_BYTES;
}

/* Take the published bytes, whole: they may be replaced while they are read. */
static int take_copy(struct lb_routes *routes, const struct lb_shm *shm, uint32_t *version)
{
    for (;;) {
        *version = __atomic_load_n(&shm->head->routes, __ATOMIC_ACQUIRE);
        const void *published = lb_shm_routes(shm, *version);
        memcpy(routes->copy, published, bytes_of(published));
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&shm->head->routes, __ATOMIC_RELAXED) - *version < 2)
            break;
    }
    const struct lb_routes_head *head = (const void *)routes->copy;
    uint64_t count = head->count, conditions = head->conditions;
    uint64_t bytes = sizeof *head + count * sizeof *routes->rows + conditions * sizeof *routes->conditions + head->text_bytes;
    if (bytes > LB_ROUTES_BYTES)
        return -EINVAL;
    routes->head = head;
    routes->rows = (const void *)(routes->head + 1);
    routes->conditions = (const void *)(routes->rows + count);
    routes->text = (const void *)(routes->conditions + conditions);
    for (uint32_t i = 0; i < count; i++)
        if (!row_ok(routes, &routes->rows[i]))
            return -EINVAL;
    return 0;
}

static uint32_t host_number(struct lb_routes *routes, const struct lb_route_row *row, uint32_t *hosts)
{
    if (row->host_kind == LB_ROUTE_HOST_ANY)
        return ANY_HOST;
    enum key_kind kind = row->host_kind == LB_ROUTE_HOST_EXACT ? KEY_HOST : KEY_WILDCARD;
    uint64_t hash = hash_of(kind, 0, routes->text + row->host, row->host_length);
    struct entry *entry = index_find(&routes->hosts, hash);
    if (!entry->hash)
        *entry = (struct entry){hash, ++*hosts};
    return entry->value;
}

static enum key_kind path_key(const struct lb_route_row *row)
{
    switch ((enum lb_route_path)row->path_kind) {
    case LB_ROUTE_PATH_EXACT:
        return KEY_EXACT;
    case LB_ROUTE_PATH_PREFIX:
        return KEY_PREFIX;
    case LB_ROUTE_PATH_ANY:
    case LB_ROUTE_PATH_REGEX:
        return KEY_ANY_PATH;
    }
    return KEY_ANY_PATH;
}

/* From the last route to the first, each put before its like: chains run in order. */
static void fill_index(struct lb_routes *routes)
{
    uint32_t hosts = 0;
    for (uint32_t i = routes->head->count; i-- > 0;) {
        const struct lb_route_row *row = &routes->rows[i];
        enum key_kind kind = path_key(row);
        uint32_t host = host_number(routes, row, &hosts), length = kind == KEY_ANY_PATH ? 0 : row->path_length;
        uint64_t hash = hash_of(kind, host, routes->text + row->path, length);
        struct entry *entry = index_find(&routes->keys, hash);
        routes->next[i] = entry->hash ? entry->value : NONE;
        *entry = (struct entry){hash, i};
    }
}

static int compile_expressions(struct lb_routes *routes)
{
    char expression[LB_EXPRESSION_BYTES + 1];
    for (uint32_t i = 0; i < routes->head->count; i++) {
        const struct lb_route_row *row = &routes->rows[i];
        if (row->path_kind != LB_ROUTE_PATH_REGEX)
            continue;
        if (row->path_length > LB_EXPRESSION_BYTES)
            return -EINVAL;
        memcpy(expression, routes->text + row->path, row->path_length);
        expression[row->path_length] = 0;
        if (regcomp(&routes->expressions[i], expression, REG_EXTENDED | REG_NOSUB))
            return -EINVAL;
        routes->compiled[i] = 1;
    }
    return 0;
}

void lb_routes_free(struct lb_routes *routes)
{
    if (!routes)
        return;
    for (uint32_t i = 0; routes->compiled && i < routes->head->count; i++)
        if (routes->compiled[i])
            regfree(&routes->expressions[i]);
    free(routes->compiled);
    free(routes->expressions);
    free(routes->next);
    free(routes->keys.entries);
    free(routes->hosts.entries);
    free(routes->copy);
    free(routes);
}

static int build(struct lb_routes *routes, const struct lb_shm *shm, uint32_t *version)
{
    routes->copy = malloc(LB_ROUTES_BYTES);
    if (!routes->copy)
        return -ENOMEM;
    int error = take_copy(routes, shm, version);
    if (error)
        return error;
    uint32_t count = routes->head->count;
    routes->next = calloc((size_t)count + 1, sizeof *routes->next);
    routes->expressions = calloc((size_t)count + 1, sizeof *routes->expressions);
    routes->compiled = calloc((size_t)count + 1, sizeof *routes->compiled);
    if (!routes->next || !routes->expressions || !routes->compiled)
        return -ENOMEM;
    error = index_open(&routes->hosts, count);
    if (!error)
        error = index_open(&routes->keys, count);
    if (!error)
        error = compile_expressions(routes);
    if (!error)
        fill_index(routes);
    return error;
}

int lb_routes_compile(struct lb_routes **routes, const struct lb_shm *shm, uint32_t *version)
{
    struct lb_routes *fresh = calloc(1, sizeof *fresh);
    if (!fresh)
        return -ENOMEM;
    int error = build(fresh, shm, version);
    if (error) {
        lb_routes_free(fresh);
        return error;
    }
    lb_routes_free(*routes);
    *routes = fresh;
    return 0;
}

int lb_route_expression_check(const char *expression, char *reason, size_t size)
{
    regex_t compiled;
    int error = regcomp(&compiled, expression, REG_EXTENDED | REG_NOSUB);
    if (error)
        regerror(error, &compiled, reason, size);
    else
        regfree(&compiled);
    return error ? -EINVAL : 0;
}

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

/* In one Cookie field: name=value pairs apart by "; ". */
static struct lb_span cookie_in(const char *bytes, struct lb_span list, const char *name, uint32_t length)
{
    uint32_t at = list.at, stop = list.at + list.length;
    while (at < stop) {
        while (at < stop && (bytes[at] == ' ' || bytes[at] == '\t' || bytes[at] == ';'))
            at++;
        uint32_t end = at;
        while (end < stop && bytes[end] != ';')
            end++;
        if (end - at > length && bytes[at + length] == '=' && memcmp(bytes + at, name, length) == 0)
            return (struct lb_span){at + length + 1, end - at - length - 1};
        at = end;
    }
    return (struct lb_span){NONE, 0};
}

struct lb_span lb_cookie_find(const struct lb_message *message, const char *bytes, const char *name, uint32_t length)
{
    struct lb_span found = {NONE, 0};
    for (uint32_t i = 0; i < message->head.field_count && found.at == NONE; i++)
        if (message->head.fields[i].known == LB_COOKIE)
            found = cookie_in(bytes, message->head.fields[i].value, name, length);
    return found;
}

/* Any field of that name may satisfy it. */
static int header_holds(const struct lb_message *message, const char *bytes, const struct lb_condition_row *condition,
                        const char *text)
{
    for (uint32_t i = 0; i < message->head.field_count; i++) {
        const struct lb_field *field = &message->head.fields[i];
        if (!lb_same_word(bytes + field->name.at, field->name.length, text + condition->name, condition->name_length))
            continue;
        if (condition->present || lb_same(bytes + field->value.at, field->value.length, text + condition->value,
                                          condition->value_length))
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
    return condition->present ||
           lb_same(bytes + value.at, value.length, text + condition->value, condition->value_length);
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
    const char *path; /* normal, NUL-ended */
    uint32_t path_length;
    uint32_t listener;
    uint32_t best; /* the first route that matched so far */
};

static int hello_holds(const struct search *search, const struct lb_route_row *row)
{
    const struct lb_routes *routes = search->routes;
    if (row->methods_length)
        return 0;
    for (uint32_t i = 0; i < row->condition_count; i++) {
        const struct lb_condition_row *condition = &routes->conditions[row->condition + i];
        if (condition->kind != LB_CONDITION_ALPN ||
            !lb_hello_offers(search->hello, routes->text + condition->value, condition->value_length))
            return 0;
    }
    return 1;
}

static int row_holds(const struct search *search, uint32_t route)
{
    const struct lb_routes *routes = search->routes;
    const struct lb_route_row *row = &routes->rows[route];
    const struct lb_message *message = search->message;
    if (row->listener != NONE && row->listener != search->listener)
        return 0;
    if (!message)
        return hello_holds(search, row);
    if (row->methods_length &&
        !method_holds(routes->text + row->methods, row->methods_length, search->bytes + message->head.method.at,
                      message->head.method.length))
        return 0;
    for (uint32_t i = 0; i < row->condition_count; i++)
        if (!condition_holds(message, search->bytes, &routes->conditions[row->condition + i], routes->text))
            return 0;
    return row->path_kind != LB_ROUTE_PATH_REGEX ||
           regexec(&routes->expressions[route], search->path, 0, NULL, 0) == 0;
}

/* Do the bytes of a key agree, and not just their hash? */
static int path_agrees(const struct search *search, const struct lb_route_row *row, enum key_kind kind, uint32_t length)
{
    if (path_key(row) != kind)
        return 0;
    return kind == KEY_ANY_PATH ||
           lb_same(search->routes->text + row->path, row->path_length, search->path, length);
}

static void look(struct search *search, enum key_kind kind, uint64_t hash, uint32_t length)
{
    const struct lb_routes *routes = search->routes;
    const struct entry *entry = index_find(&routes->keys, hash_end(hash));
    for (uint32_t route = entry->hash ? entry->value : NONE; route < search->best; route = routes->next[route])
        if (path_agrees(search, &routes->rows[route], kind, length) && row_holds(search, route))
            search->best = route;
}

/* All paths that routes of this host may name: none, each prefix by segment, the whole. */
static void search_host(struct search *search, uint32_t host)
{
    look(search, KEY_ANY_PATH, hash_start(KEY_ANY_PATH, host), 0);
    if (!search->message)
        return; /* TLS has no path */
    uint64_t prefix = hash_start(KEY_PREFIX, host), exact = hash_start(KEY_EXACT, host);
    for (uint32_t i = 0; i < search->path_length; i++) {
        if (search->path[i] == '/')
            look(search, KEY_PREFIX, prefix, i);
        prefix = hash_on(prefix, search->path[i]);
        exact = hash_on(exact, search->path[i]);
    }
    if (search->path_length && search->path[search->path_length - 1] != '/')
        look(search, KEY_PREFIX, prefix, search->path_length);
    look(search, KEY_EXACT, exact, search->path_length);
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
    search->best = NONE;
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

void lb_routes_match_name(struct lb_routes *routes, uint32_t listener, const struct lb_hello *hello, struct lb_routed_to *to)
{
    struct search search = {.routes = routes, .hello = hello, .path = "", .listener = listener};
    uint32_t route = routes->head->count ? first_match_of(&search, hello->name, hello->name_length) : NONE;
    if (route != NONE)
        *to = (struct lb_routed_to){routes->rows[route].pool, routes->rows[route].cost};
}

enum lb_routed lb_routes_match(struct lb_routes *routes, uint32_t listener, const struct lb_message *message,
                               const char *bytes, struct lb_routed_to *to)
{
    struct lb_span path = message->path;
    struct search search = {.routes = routes, .message = message, .bytes = bytes, .listener = listener};
    int plain = lb_path_is_plain(bytes + path.at, path.length);
    if (plain && !routes->head->count)
        return LB_ROUTED_NOWHERE;
    if (path.length > LONGEST_PATH)
        return LB_ROUTED_AMBIGUOUS;
    int64_t length = lb_path_normal(bytes + path.at, path.length, LB_PATH_AS_WRITTEN, routes->path);
    if (length < 0)
        return LB_ROUTED_AMBIGUOUS;
    search.path = length ? routes->path : "/";
    search.path_length = length ? (uint32_t)length : 1;
    uint32_t route = first_match(&search);
    if (!plain) {
        length = lb_path_normal(bytes + path.at, path.length, LB_PATH_SLASHED, routes->path);
        search.path_length = length > 0 ? (uint32_t)length : 1;
        if (first_match(&search) != route)
            return LB_ROUTED_AMBIGUOUS;
    }
    if (route == NONE)
        return LB_ROUTED_NOWHERE;
    *to = (struct lb_routed_to){routes->rows[route].pool, routes->rows[route].cost};
    return LB_ROUTED;
}
