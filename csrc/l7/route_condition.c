#include <string.h>

#include "../core/ip.h"
#include "../l4/networks.h"
#include "query.h"
#include "route_search.h"

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
static int header_holds(const struct search *search, const struct lb_condition_row *condition)
{
    const struct lb_message *message = search->message;
    const char *text = search->routes->text;
    for (uint32_t i = 0; i < message->head.field_count; i++) {
        const struct lb_field *field = &message->head.fields[i];
        if (!lb_same_word(search->bytes + field->name.at, field->name.length, text + condition->name, condition->name_length))
            continue;
        if (condition->present ||
            lb_same(search->bytes + field->value.at, field->value.length, text + condition->value, condition->value_length))
            return 1;
    }
    return 0;
}

static int cookie_holds(const struct search *search, const struct lb_condition_row *condition)
{
    const char *text = search->routes->text;
    struct lb_span value = lb_cookie_find(search->message, search->bytes, text + condition->name, condition->name_length);
    if (value.at == NONE)
        return 0;
    return condition->present ||
           lb_same(search->bytes + value.at, value.length, text + condition->value, condition->value_length);
}

static int query_holds(struct search *search, const struct lb_condition_row *condition)
{
    const char *text = search->routes->text;
    struct lb_span query = search->message->query;
    struct lb_parameter wanted = {text + condition->name, condition->name_length, condition->value_length,
                                  condition->present ? NULL : text + condition->value};
    return lb_query_says(search->bytes + query.at, query.length, &wanted, search->query_reading, &search->repeated);
}

/* methods: names apart by spaces. */
int lb_route_names_method(const char *methods, uint32_t methods_length, const char *method, uint32_t length)
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

/* A name, or what begins with a dot: all names below. */
static int host_holds(const struct search *search, const struct lb_condition_row *condition)
{
    const char *wanted = search->routes->text + condition->value;
    uint32_t length = condition->value_length;
    if (length && wanted[0] == '.')
        return search->host_length > length && memcmp(search->host + search->host_length - length, wanted, length) == 0;
    return lb_same(search->host, search->host_length, wanted, length);
}

int lb_route_expression_holds(const struct search *search, const regex_t *expression, uint32_t at, uint32_t length)
{
    const char *path = memchr(search->routes->text + at, '%', length) ? search->written : search->path;
    return regexec(expression, path, 0, NULL, 0) == 0;
}

static int path_holds(const struct search *search, uint32_t at)
{
    const struct lb_routes *routes = search->routes;
    const struct lb_condition_row *condition = &routes->conditions[at];
    if (condition->kind == LB_CONDITION_PATH_REGEX)
        return lb_route_expression_holds(search, &routes->expressions[routes->head->count + at], condition->value,
                                         condition->value_length);
    const char *wanted = (search->decoded ? routes->decoded : routes->text) + condition->value;
    uint32_t length = search->decoded ? routes->decoded_length[routes->head->count + at] : condition->value_length;
    if (search->path_length < length)
        return 0;
    if (condition->kind == LB_CONDITION_PATH_SUFFIX)
        return memcmp(search->path + search->path_length - length, wanted, length) == 0;
    if (memcmp(search->path, wanted, length) != 0)
        return 0;
    return search->path_length == length || (condition->kind == LB_CONDITION_PATH_PREFIX && search->path[length] == '/');
}

/* Networks, each its address and its bits, in their order, none within another: the last that does not begin behind the address is the only
 * one that may have it. */
static int source_holds(const struct search *search, const struct lb_condition_row *condition)
{
    const uint8_t *networks = (const uint8_t *)search->routes->text + condition->value;
    uint32_t from = 0, to = condition->value_length / LB_SOURCE_NETWORK;
    while (from < to) {
        uint32_t middle = (from + to) / 2;
        if (memcmp(networks + (size_t)middle * LB_SOURCE_NETWORK, search->ip, 16) <= 0)
            from = middle + 1;
        else
            to = middle;
    }
    if (!from)
        return 0;
    const uint8_t *last = networks + (size_t)(from - 1) * LB_SOURCE_NETWORK;
    return lb_network_has(last, last[16], search->ip);
}

/* What a split goes by, hashed; 0: the request has none. IPv6 clients move within their /64. */
static uint64_t split_key(const struct search *search, const struct lb_condition_row *condition)
{
    const char *name = search->routes->text + condition->name;
    struct lb_span value = {NONE, 0};
    if (condition->present == LB_SPLIT_SOURCE)
        return hash_of(KEY_SPLIT, 0, (const char *)search->ip, lb_ip_customer_bytes(search->ip));
    if (condition->present == LB_SPLIT_COOKIE) {
        value = lb_cookie_find(search->message, search->bytes, name, condition->name_length);
    } else {
        const struct lb_field *field = lb_field_find(search->message, search->bytes, name, condition->name_length);
        value = field ? field->value : value;
    }
    return value.at == NONE ? 0 : hash_of(KEY_SPLIT, 0, search->bytes + value.at, value.length);
}

/* The same key falls to the same place in all splits, so that ranges of several routes divide it. */
static int split_holds(const struct search *search, const struct lb_condition_row *condition)
{
    uint64_t key = split_key(search, condition);
    if (!key)
        return 0;
    key = (key ^ key >> 33) * UINT64_C(0xff51afd7ed558ccd); /* the end of MurmurHash3: FNV mixes its last bytes little */
    key = (key ^ key >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    uint32_t place = (uint32_t)((key ^ key >> 33) % LB_SPLIT_PLACES);
    return place >= condition->value && place < condition->value_length;
}

/* What is said of a key in the body. One that has not come yet is undecided, where the head speaks of JSON at all. */
static enum lb_holds json_holds(struct search *search, const struct lb_condition_row *condition)
{
    const struct lb_routes *routes = search->routes;
    if (!search->said) {
        int is_json = lb_json_is_body(search->message, search->bytes);
        search->no_json |= !is_json;
        return is_json ? LB_UNDECIDED : LB_FAILS;
    }
    return lb_json_condition_holds(search->said, lb_routes_json_key(routes, condition), condition->present,
                                   routes->text + condition->value, condition->value_length);
}

static enum lb_holds any_holds(struct search *search, uint32_t first, uint32_t count);
static enum lb_holds condition_holds(struct search *search, uint32_t at);

/* Of what a route itself says as `any`: beside whether one holds, which one, or what each of them fails by. */
static enum lb_holds alternatives_hold(struct search *search, uint32_t group)
{
    const struct lb_condition_row *conditions = search->routes->conditions;
    struct lb_way *looked = &search->looked;
    enum lb_holds any = LB_FAILS;
    uint32_t end = group + 1 + conditions[group].inside, count = 0;
    for (uint32_t at = group + 1; at < end && any != LB_HOLDS; at += 1 + conditions[at].inside, count++) {
        enum lb_holds one = condition_holds(search, at);
        any = one == LB_FAILS ? any : one;
        if (count < LB_TOLD)
            looked->failed[count] = (uint16_t)(search->failed - group < UINT16_MAX ? search->failed - group : 0);
    }
    looked->held = (uint8_t)(any == LB_HOLDS ? count < UINT8_MAX ? count : UINT8_MAX : 0);
    looked->count = (uint8_t)(any == LB_FAILS ? count < UINT8_MAX ? count : UINT8_MAX : 0);
    return any;
}

static enum lb_holds group_holds(struct search *search, uint32_t at)
{
    const struct lb_condition_row *group = &search->routes->conditions[at];
    if (group->present)
        return alternatives_hold(search, at);
    return group->kind == LB_CONDITION_ANY ? any_holds(search, at + 1, group->inside)
                                           : lb_route_conditions_hold(search, at + 1, group->inside);
}

/* Of one that the head decides. */
static int plain_holds(struct search *search, uint32_t at)
{
    const struct lb_condition_row *condition = &search->routes->conditions[at];
    const char *text = search->routes->text;
    switch ((enum lb_condition)condition->kind) {
    case LB_CONDITION_HEADER:
        return header_holds(search, condition);
    case LB_CONDITION_COOKIE:
        return cookie_holds(search, condition);
    case LB_CONDITION_ALPN:
        return search->hello && lb_hello_offers(search->hello, text + condition->value, condition->value_length);
    case LB_CONDITION_QUERY:
        return query_holds(search, condition);
    case LB_CONDITION_METHOD:
        return lb_route_names_method(text + condition->value, condition->value_length, search->method, search->method_length);
    case LB_CONDITION_HOST:
        return host_holds(search, condition);
    case LB_CONDITION_PATH:
    case LB_CONDITION_PATH_PREFIX:
    case LB_CONDITION_PATH_SUFFIX:
    case LB_CONDITION_PATH_REGEX:
        return path_holds(search, at);
    case LB_CONDITION_SOURCE:
        return source_holds(search, condition);
    case LB_CONDITION_SPLIT:
        return split_holds(search, condition);
    case LB_CONDITION_JSON:
    case LB_CONDITION_ALL:
    case LB_CONDITION_ANY:
        break;
    }
    return 0;
}

/* What is undecided stays so where it is negated. */
static enum lb_holds condition_holds(struct search *search, uint32_t at)
{
    const struct lb_condition_row *condition = &search->routes->conditions[at];
    enum lb_holds holds = condition->kind == LB_CONDITION_JSON ? json_holds(search, condition)
                        : condition->kind >= LB_CONDITION_ALL  ? group_holds(search, at)
                        : plain_holds(search, at)              ? LB_HOLDS
                                                               : LB_FAILS;
    if (!condition->negated || holds == LB_UNDECIDED)
        return holds;
    return holds == LB_HOLDS ? LB_FAILS : LB_HOLDS;
}

/* Groups are nested LB_CONDITION_DEPTH deep at most. */
enum lb_holds lb_route_conditions_hold(struct search *search, uint32_t first, uint32_t count)
{
    const struct lb_condition_row *conditions = search->routes->conditions;
    enum lb_holds all = LB_HOLDS;
    for (uint32_t at = first; at < first + count && all != LB_FAILS; at += 1 + conditions[at].inside) {
        enum lb_holds one = condition_holds(search, at);
        all = one == LB_HOLDS ? all : one;
        if (one == LB_FAILS)
            search->failed = at;
    }
    return all;
}

static enum lb_holds any_holds(struct search *search, uint32_t first, uint32_t count)
{
    const struct lb_condition_row *conditions = search->routes->conditions;
    enum lb_holds any = LB_FAILS;
    for (uint32_t at = first; at < first + count && any != LB_HOLDS; at += 1 + conditions[at].inside) {
        enum lb_holds one = condition_holds(search, at);
        any = one == LB_FAILS ? any : one;
    }
    return any;
}
