#include "route_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "edit_rows.h"
#include "guard_rows.h"
#include "path.h"
#include "route_bytes.h"

static int index_open(struct index *index, uint32_t entries)
{
    uint64_t size = 16;
    while (size < 2 * (uint64_t)entries)
        size *= 2;
    index->mask = size - 1;
    index->entries = calloc(size, sizeof *index->entries);
    return index->entries ? 0 : -ENOMEM;
}

/* --- compiling ------------------------------------------------------------------------------------------------------ */

static int text_ok(const struct lb_routes *routes, uint32_t at, uint32_t length)
{
    return at <= routes->head->text_bytes && length <= routes->head->text_bytes - at;
}

/* A media type that ends in the text, and a body that fits a buffer. */
static int answer_ok(const struct lb_routes *routes, const struct lb_route_row *row)
{
    if (!row->answer_length || is_redirect(row))
        return 1;
    return row->answer_length <= LB_FIXED_BYTES + 128 && memchr(routes->text + row->answer, 0, row->answer_length);
}

static int condition_ok(const struct lb_routes *routes, const struct lb_condition_row *condition)
{
    int is_split = condition->kind == LB_CONDITION_SPLIT;
    return condition->kind <= LB_CONDITION_ANY && text_ok(routes, condition->name, condition->name_length) &&
           (is_split || text_ok(routes, condition->value, condition->value_length)) &&
           text_ok(routes, condition->models, condition->models_length) &&
           (condition->kind >= LB_CONDITION_ALL || !condition->inside);
}

/* Each lies within its group, and groups are not too deep. */
static int conditions_ok(const struct lb_routes *routes, uint32_t first, uint32_t count, int depth)
{
    if (count && depth > LB_CONDITION_DEPTH)
        return 0;
    for (uint32_t at = first; at < first + count; at += 1 + routes->conditions[at].inside) {
        const struct lb_condition_row *condition = &routes->conditions[at];
        if (!condition_ok(routes, condition) || condition->inside > first + count - at - 1 ||
            !conditions_ok(routes, at + 1, condition->inside, depth + 1))
            return 0;
    }
    return 1;
}

static int row_ok(const struct lb_routes *routes, const struct lb_route_row *row)
{
    if (!text_ok(routes, row->host, row->host_length) || !text_ok(routes, row->path, row->path_length) ||
        !text_ok(routes, row->methods, row->methods_length) || !text_ok(routes, row->answer, row->answer_length) ||
        !text_ok(routes, row->limit_name, row->limit_name_length) || (row->rate_step_ns && !row->rate_burst) ||
        !text_ok(routes, row->strip, row->strip_length) || !text_ok(routes, row->replacement, row->replacement_length) ||
        row->editor > routes->head->editors || !answer_ok(routes, row) || row->host_length > LONGEST_HOST ||
        row->guard > routes->head->guards || row->condition > routes->head->conditions ||
        row->condition_count > routes->head->conditions - row->condition)
        return 0;
    return conditions_ok(routes, row->condition, row->condition_count, 0);
}

static int mapped_ok(const struct lb_routes *routes)
{
    for (uint32_t i = 0; i < routes->head->mapped; i++)
        if (!text_ok(routes, routes->mapped[i].host, routes->mapped[i].host_length))
            return 0;
    return 1;
}

static int credentials_ok(const struct lb_routes *routes)
{
    for (uint32_t i = 0; i < routes->head->credentials; i++)
        if (!text_ok(routes, routes->credentials[i].name, routes->credentials[i].name_length) ||
            routes->credentials[i].name_length >= LB_USER_BYTES)
            return 0;
    return 1;
}

/* Which stands before which listener; 0: one is damaged. */
static int take_guards(struct lb_routes *routes)
{
    for (uint32_t i = 0; i < routes->head->guards; i++) {
        if (!lb_guard_row_ok(routes->head, routes->text, &routes->guards[i]))
            return 0;
        if (routes->guards[i].listener < LB_MAX_LISTENERS)
            routes->guard_of[routes->guards[i].listener] = i + 1;
    }
    return 1;
}

/* Take the published bytes, whole: they may be replaced while they are read. */
static int take_copy(struct lb_routes *routes, const struct lb_shm *shm, uint32_t *version)
{
    uint64_t bytes;
    for (;;) {
        *version = __atomic_load_n(&shm->head->routes, __ATOMIC_ACQUIRE);
        const void *published = lb_shm_routes(shm, *version);
        bytes = lb_routes_room(published);
        free(routes->copy);
        routes->copy = malloc(bytes);
        if (!routes->copy)
            return -ENOMEM;
        memcpy(routes->copy, published, bytes);
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        if (__atomic_load_n(&shm->head->routes, __ATOMIC_RELAXED) - *version < 2)
            break;
    }
    const struct lb_routes_head *head = (const void *)routes->copy;
    if (lb_routes_bytes(head) >= LB_ROUTES_BYTES)
        return -EINVAL;
    routes->head = head;
    routes->rows = (const void *)(routes->head + 1);
    routes->conditions = (const void *)(routes->rows + head->count);
    routes->guards = (const void *)(routes->conditions + head->conditions);
    routes->networks = (const void *)(routes->guards + head->guards);
    routes->credentials = (const void *)(routes->networks + head->networks);
    const struct lb_route_words *words = (const void *)(routes->credentials + head->credentials);
    routes->editors = (const void *)(words + head->words); /* workers do not read the words: they are for those who ask why */
    routes->edits = (const void *)(routes->editors + head->editors);
    routes->pieces = (const void *)(routes->edits + head->edits);
    routes->mapped = (const void *)(routes->pieces + head->pieces);
    routes->text = (const void *)(routes->mapped + head->mapped);
    for (uint32_t i = 0; i < head->count; i++) {
        if (!row_ok(routes, &routes->rows[i]))
            return -EINVAL;
        routes->changes |= (routes->rows[i].editor | routes->rows[i].rewrites) != 0;
    }
    routes->changes |= head->editors != 0;
    const struct lb_edit_rows edits = {head, routes->editors, routes->edits, routes->pieces};
    return mapped_ok(routes) && credentials_ok(routes) && take_guards(routes) && lb_edit_rows_ok(&edits) ? 0 : -EINVAL;
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

/* Put a route before its like. next: of its chain. */
static void put_key(struct lb_routes *routes, uint64_t hash, uint32_t route, uint32_t *next)
{
    struct entry *entry = index_find(&routes->keys, hash);
    next[route] = entry->hash ? entry->value : NONE;
    *entry = (struct entry){hash, route};
}

static void fill_maps(struct lb_routes *routes)
{
    for (uint32_t i = 0; i < routes->head->mapped; i++) {
        const struct lb_mapped_host *mapped = &routes->mapped[i];
        uint64_t hash = hash_of(KEY_MAPPED, mapped->map, routes->text + mapped->host, mapped->host_length);
        *index_find(&routes->maps, hash) = (struct entry){hash, i};
        routes->wildcards |= mapped->host_length && routes->text[mapped->host] == '.';
    }
}

/* From the last route to the first: chains run in order. */
static void fill_index(struct lb_routes *routes)
{
    uint32_t hosts = 0;
    for (uint32_t i = routes->head->count; i-- > 0;) {
        const struct lb_route_row *row = &routes->rows[i];
        enum key_kind kind = path_key(row);
        uint32_t host = host_number(routes, row, &hosts), length = kind == KEY_ANY_PATH ? 0 : row->path_length;
        put_key(routes, hash_of(kind, host, routes->text + row->path, length), i, routes->next);
        if (kind != KEY_ANY_PATH)
            put_key(routes, hash_of(decoded_key(kind), host, routes->decoded + row->path, routes->decoded_length[i]), i,
                    routes->next_decoded);
        routes->methods |= row->methods_length != 0;
    }
    for (uint32_t i = 0; i < routes->head->conditions; i++) {
        routes->methods |= routes->conditions[i].kind == LB_CONDITION_METHOD;
        routes->queries |= routes->conditions[i].kind == LB_CONDITION_QUERY;
    }
    for (uint32_t i = routes->head->credentials; i-- > 0;) {
        uint64_t hash = digest_hash(routes->credentials[i].digest);
        *index_find(&routes->digests, hash) = (struct entry){hash, i};
    }
}

/* What a path decodes to, where it stands in the text: it is no longer. number: of its route, or behind them of its condition. */
static void decode_path(struct lb_routes *routes, uint32_t number, uint32_t at, uint32_t path_length)
{
    int64_t length = lb_path_decode(routes->text + at, path_length, routes->decoded + at);
    if (length < 0) { /* a broken escape, which no request has */
        memcpy(routes->decoded + at, routes->text + at, path_length);
        length = path_length;
    }
    routes->decoded_length[number] = (uint32_t)length;
    routes->escapes |= length != path_length;
}

/* A key's names, apart by dots: 0, or -EINVAL. */
static int split_key(struct lb_json_path *path, const char *key, uint32_t length)
{
    for (uint32_t at = 0, end; at <= length; at = end + 1) {
        const char *dot = memchr(key + at, '.', length - at);
        end = dot ? (uint32_t)(dot - key) : length;
        if (path->levels == LB_JSON_LEVELS || end - at > LB_JSON_WORD)
            return -EINVAL;
        path->names[path->levels] = key + at;
        path->lengths[path->levels++] = end - at;
    }
    return 0;
}

/* Each key once: equal texts stand at one place. */
static int take_keys(struct lb_routes *routes)
{
    for (uint32_t i = 0; i < routes->head->conditions; i++) {
        const struct lb_condition_row *condition = &routes->conditions[i];
        if (condition->kind != LB_CONDITION_JSON || lb_routes_json_key(routes, condition) < routes->json_count)
            continue;
        if (routes->json_count == LB_JSON_KEYS)
            return -EINVAL;
        routes->json_at[routes->json_count] = condition->name;
        if (split_key(&routes->json[routes->json_count++], routes->text + condition->name, condition->name_length) < 0)
            return -EINVAL;
    }
    return 0;
}

static void decode_paths(struct lb_routes *routes)
{
    for (uint32_t i = 0; i < routes->head->count; i++)
        if (path_key(&routes->rows[i]) != KEY_ANY_PATH)
            decode_path(routes, i, routes->rows[i].path, routes->rows[i].path_length);
    for (uint32_t i = 0; i < routes->head->conditions; i++) {
        const struct lb_condition_row *condition = &routes->conditions[i];
        if (condition->kind == LB_CONDITION_PATH || condition->kind == LB_CONDITION_PATH_PREFIX ||
            condition->kind == LB_CONDITION_PATH_SUFFIX)
            decode_path(routes, routes->head->count + i, condition->value, condition->value_length);
    }
}

/* number: likewise. */
static int compile_expression(struct lb_routes *routes, uint32_t number, uint32_t at, uint32_t length, int groups)
{
    char expression[LB_EXPRESSION_BYTES + 1];
    if (length > LB_EXPRESSION_BYTES)
        return -EINVAL;
    memcpy(expression, routes->text + at, length);
    expression[length] = 0;
    if (regcomp(&routes->expressions[number], expression, REG_EXTENDED | (groups ? 0 : REG_NOSUB)))
        return -EINVAL;
    routes->compiled[number] = 1;
    return 0;
}

static int compile_expressions(struct lb_routes *routes)
{
    int error = 0;
    for (uint32_t i = 0; i < routes->head->count && !error; i++)
        if (routes->rows[i].path_kind == LB_ROUTE_PATH_REGEX)
            error = compile_expression(routes, i, routes->rows[i].path, routes->rows[i].path_length, routes->rows[i].editor != 0);
    for (uint32_t i = 0; i < routes->head->conditions && !error; i++) {
        const struct lb_condition_row *condition = &routes->conditions[i];
        if (condition->kind == LB_CONDITION_PATH_REGEX)
            error = compile_expression(routes, routes->head->count + i, condition->value, condition->value_length, 0);
    }
    return error;
}

static void free_one(struct lb_routes *routes)
{
    for (uint32_t i = 0; routes->compiled && i < routes->head->count + routes->head->conditions; i++)
        if (routes->compiled[i])
            regfree(&routes->expressions[i]);
    free(routes->editor_of);
    free(routes->compiled);
    free(routes->expressions);
    free(routes->decoded_length);
    free(routes->decoded);
    free(routes->next_decoded);
    free(routes->next);
    free(routes->digests.entries);
    free(routes->keys.entries);
    free(routes->maps.entries);
    free(routes->hosts.entries);
    free(routes->copy);
    free(routes);
}

static int build(struct lb_routes *routes, const struct lb_shm *shm, uint32_t *version)
{
    int error = take_copy(routes, shm, version);
    if (error)
        return error;
    uint32_t count = routes->head->count;
    size_t all = (size_t)count + routes->head->conditions + 1;
    routes->next = calloc((size_t)count + 1, sizeof *routes->next);
    routes->expressions = calloc(all, sizeof *routes->expressions);
    routes->compiled = calloc(all, sizeof *routes->compiled);
    routes->next_decoded = calloc((size_t)count + 1, sizeof *routes->next_decoded);
    routes->decoded_length = calloc(all, sizeof *routes->decoded_length);
    routes->decoded = malloc((size_t)routes->head->text_bytes + 1);
    if (!routes->next || !routes->expressions || !routes->compiled || !routes->next_decoded || !routes->decoded_length ||
        !routes->decoded)
        return -ENOMEM;
    const struct lb_edit_rows edits = {routes->head, routes->editors, routes->edits, routes->pieces};
    routes->listeners = shm->head->max_listeners;
    routes->editor_of = lb_edit_rows_assign(&edits, shm);
    if (!routes->editor_of)
        return -ENOMEM;
    decode_paths(routes);
    error = take_keys(routes);
    if (!error)
        error = index_open(&routes->hosts, count);
    if (!error)
        error = index_open(&routes->keys, 2 * count);
    if (!error)
        error = index_open(&routes->maps, routes->head->mapped);
    if (!error)
        error = index_open(&routes->digests, routes->head->credentials);
    if (!error)
        error = compile_expressions(routes);
    if (!error)
        fill_index(routes);
    if (!error)
        fill_maps(routes);
    return error;
}

void lb_routes_free(struct lb_routes *routes)
{
    while (routes) {
        struct lb_routes *older = routes->older;
        free_one(routes);
        routes = older;
    }
}

/* --- the newest, and those that somebody holds on to ------------------------------------------------------------------ */

static struct lb_routes *of_era(struct lb_routes *routes, uint16_t era)
{
    while (routes && routes->era != era)
        routes = routes->older;
    return routes;
}

/* All behind these that nobody holds on to. */
static void free_left(struct lb_routes *routes)
{
    while (routes->older) {
        struct lb_routes *older = routes->older;
        if (older->users) {
            routes = older;
            continue;
        }
        routes->older = older->older;
        free_one(older);
    }
}

/* But for the time since which they are these. */
static int is_same(const struct lb_routes *a, const struct lb_routes *b)
{
    uint64_t bytes = lb_routes_room(a->head);
    return bytes == lb_routes_room(b->head) && memcmp(a->rows, b->rows, bytes - sizeof *a->head) == 0;
}

int lb_routes_compile(struct lb_routes **routes, const struct lb_shm *shm, uint32_t *version)
{
    struct lb_routes *fresh = calloc(1, sizeof *fresh);
    if (!fresh)
        return -ENOMEM;
    int error = build(fresh, shm, version);
    if (error || (*routes && is_same(*routes, fresh))) {
        free_one(fresh);
        return error;
    }
    fresh->era = *routes ? (uint16_t)((*routes)->era + 1) : 0;
    while (of_era(*routes, fresh->era))
        fresh->era++;
    fresh->older = *routes;
    *routes = fresh;
    free_left(fresh);
    return 0;
}

uint16_t lb_routes_hold(struct lb_routes *routes)
{
    routes->users++;
    return routes->era;
}

const char *lb_routes_text(const struct lb_routes *routes, uint16_t era)
{
    while (routes->era != era)
        routes = routes->older;
    return routes->text;
}

const struct lb_route_row *lb_routes_held(const struct lb_routes *routes, uint16_t era, uint32_t route)
{
    while (routes->era != era)
        routes = routes->older;
    return &routes->rows[route];
}

void lb_routes_leave(struct lb_routes *routes, uint16_t era)
{
    of_era(routes, era)->users--;
    free_left(routes);
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
