#include "reader.h"

#include <stddef.h>
#include <string.h>

#include "plain.h"
#include "place.h"
#include "utf8.h"

static int is_blank(char c)
{
    return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

static const char *broken(struct lb_json *json, const char *at)
{
    json->pending = LB_JSON_BAD;
    return at;
}

/* --- values that are looked for --------------------------------------------------------------------------------------- */

/* A name is whole: which paths does it belong to? */
static void name_ends(struct lb_json *json)
{
    uint32_t depth = json->depth;
    json->place = AT_COLON;
    json->hit = json->inner = 0;
    for (uint32_t live = json->word.kept ? json->live[depth] : 0; live; live &= live - 1) {
        const struct lb_json_path *path = &json->paths[__builtin_ctz(live)];
        uint16_t bit = (uint16_t)(live & -live);
        if (!lb_json_says(json, path->names[depth - 1], path->lengths[depth - 1]))
            continue;
        if (path->levels == depth)
            json->hit |= bit;
        else
            json->inner |= bit;
    }
    uint16_t found = json->hit | json->inner;
    if (!found)
        return;
    json->which = found & json->seen[depth];
    json->pending = json->which ? LB_JSON_TWICE : LB_JSON_MORE;
    json->seen[depth] |= found;
}

/* Paths look for it: does one of them stream? */
static void value_begins(struct lb_json *json)
{
    if (json->streamed)
        return;
    json->stream_depth = json->depth;
    for (uint32_t hit = json->hit; hit; hit &= hit - 1)
        if (json->paths[__builtin_ctz(hit)].streams)
            json->streamed |= (uint16_t)(hit & -hit);
}

static void value_ends(struct lb_json *json, enum lb_json_kind kind, uint16_t which)
{
    json->place = AT_NEXT;
    json->hit = json->inner = 0;
    if (!which)
        return;
    json->kind = (uint8_t)kind;
    json->which = which;
    json->pending = LB_JSON_VALUE;
}

static int in_object(const struct lb_json *json)
{
    uint32_t at = json->depth - UINT32_C(1);
    return json->depth && json->objects[at / 64] >> at % 64 & 1;
}

static const char *open_container(struct lb_json *json, const char *at, int is_object)
{
    uint32_t depth = json->depth;
    if (depth == LB_JSON_DEPTH) {
        json->pending = LB_JSON_TOO_DEEP;
        return at;
    }
    uint64_t bit = UINT64_C(1) << depth % 64;
    json->objects[depth / 64] = (json->objects[depth / 64] & ~bit) | (is_object ? bit : 0);
    if (depth <= LB_JSON_LEVELS)
        json->ends[depth] = json->hit;
    if (depth < LB_JSON_LEVELS)
        json->live[depth + 1] = !is_object ? 0 : depth ? json->inner : json->all;
    json->hit = json->inner = 0;
    json->depth++;
    json->place = is_object ? AT_FIRST_NAME : AT_FIRST_ITEM;
    return at + 1;
}

static const char *close_container(struct lb_json *json, const char *at, int is_object)
{
    if (!json->depth || in_object(json) != is_object)
        return broken(json, at);
    json->depth--;
    uint16_t which = json->depth <= LB_JSON_LEVELS ? json->ends[json->depth] : 0;
    value_ends(json, is_object ? LB_JSON_OBJECT : LB_JSON_ARRAY, which);
    return at + 1;
}

/* --- strings -------------------------------------------------------------------------------------------------------- */

static const char *string_ends(struct lb_json *json, const char *at)
{
    lb_json_word_end(&json->word);
    if (json->named)
        name_ends(json);
    else
        value_ends(json, LB_JSON_STRING, json->hit);
    return at + 1;
}

/* Its first byte; the rest comes by itself, if it is not there. */
static const char *begin_character(struct lb_json *json, const char *at)
{
    struct lb_utf8_rest rest = lb_utf8_rest((uint8_t)*at);
    if (!rest.count)
        return broken(json, at);
    json->need = rest.count;
    json->least = rest.least;
    json->most = rest.most;
    json->place = IN_CHARACTER;
    lb_json_keep(&json->word, at, at + 1);
    return at + 1;
}

static const char *in_character(struct lb_json *json, const char *at)
{
    uint8_t byte = (uint8_t)*at;
    if (byte < json->least || byte > json->most)
        return broken(json, at);
    json->least = 0x80;
    json->most = 0xbf;
    if (!--json->need)
        json->place = IN_STRING;
    lb_json_keep(&json->word, at, at + 1);
    return at + 1;
}

/* Bytes of the escape at this place that nobody keeps; 0: it is none, or not there whole, and is read bit by bit. */
static uint32_t escape_bytes(const char *at, const char *end)
{
    if (end - at < 2)
        return 0;
    switch (at[1]) {
    case '"':
    case '\\':
    case '/':
    case 'b':
    case 'f':
    case 'n':
    case 'r':
    case 't':
        return 2;
    default:
        return 0;
    }
}

/* Past what is plain, characters of several bytes, and escapes that nobody keeps: how far the string goes on without a look at its place. */
static const char *pass(const struct lb_json *json, const char *at, const char *end)
{
    uint32_t bytes;
    for (;;) {
        at = lb_json_plain_end(at, end);
        while (at < end && *at & '\x80') {
            bytes = lb_utf8_character(at, end);
            if (!bytes)
                return at;
            at += bytes;
        }
        if (at == end)
            return at;
        bytes = *at == '\\' && !json->word.kept ? escape_bytes(at, end) : 0;
        if (!bytes && !lb_json_is_plain(*at))
            return at;
        at += bytes;
    }
}

static const char *in_string(struct lb_json *json, const char *at, const char *end)
{
    const char *from = at;
    at = pass(json, at, end);
    lb_json_keep(&json->word, from, at);
    if (at == end)
        return at;
    if (*at == '"')
        return string_ends(json, at);
    if (*at != '\\')
        return begin_character(json, at);
    json->place = IN_ESCAPE;
    return at + 1;
}

static const char *in_escape(struct lb_json *json, const char *at)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (*at == 'u') {
        json->place = IN_CODE;
        json->need = 4;
        json->code = 0;
        return at + 1;
    }
    const char *found = *at ? strchr(from, *at) : NULL;
    if (!found)
        return broken(json, at);
    lb_json_keep_code(&json->word, (uint8_t)to[found - from]);
    json->place = IN_STRING;
    return at + 1;
}

static const char *in_code(struct lb_json *json, const char *at)
{
    uint32_t letter = (uint32_t)(uint8_t)*at | 0x20;
    if (!lb_json_is_digit(*at) && (letter < 'a' || letter > 'f'))
        return broken(json, at);
    uint32_t digit = lb_json_is_digit(*at) ? (uint32_t)(*at - '0') : letter - 'a' + 10;
    json->code = (uint16_t)((uint32_t)json->code << 4 | digit);
    if (!--json->need) {
        lb_json_keep_code(&json->word, json->code);
        json->place = IN_STRING;
    }
    return at + 1;
}

/* --- literals and numbers --------------------------------------------------------------------------------------------- */

static const char *begin_literal(struct lb_json *json, const char *at, enum lb_json_kind kind, const char *rest)
{
    json->kind = (uint8_t)kind;
    json->rest = rest;
    json->place = IN_LITERAL;
    return at + 1;
}

static const char *in_literal(struct lb_json *json, const char *at)
{
    if (*at != *json->rest)
        return broken(json, at);
    if (!*++json->rest)
        value_ends(json, (enum lb_json_kind)json->kind, json->hit);
    return at + 1;
}

static const char *in_number(struct lb_json *json, const char *at, const char *end)
{
    const char *from = at;
    enum lb_json_place part = (enum lb_json_place)json->place, next = part;
    while (at < end) {
        next = lb_json_after_part(part, *at);
        if (next == AT_NEXT || next == AT_VALUE)
            break;
        part = next;
        at++;
    }
    lb_json_keep(&json->word, from, at);
    json->place = (uint8_t)part;
    if (at == end)
        return at;
    if (next == AT_VALUE)
        return broken(json, at);
    value_ends(json, LB_JSON_NUMBER, json->hit);
    return at;
}

/* --- what may come ---------------------------------------------------------------------------------------------------- */

static const char *begin_string(struct lb_json *json, const char *at, int named)
{
    json->named = named != 0;
    json->place = IN_STRING;
    lb_json_word_begin(&json->word, named ? json->depth <= LB_JSON_LEVELS && json->live[json->depth] : json->hit);
    return at + 1;
}

static const char *begin_number(struct lb_json *json, const char *at)
{
    lb_json_word_begin(&json->word, json->hit);
    lb_json_keep(&json->word, at, at + 1);
    json->place = *at == '-' ? IN_MINUS : *at == '0' ? IN_ZERO : IN_INTEGER;
    return at + 1;
}

static const char *begin_value(struct lb_json *json, const char *at)
{
    if (*at == ']' && json->place == AT_FIRST_ITEM)
        return close_container(json, at, 0);
    if (json->hit)
        value_begins(json);
    switch (*at) {
    case '"':
        return begin_string(json, at, 0);
    case '{':
        return open_container(json, at, 1);
    case '[':
        return open_container(json, at, 0);
    case 't':
        return begin_literal(json, at, LB_JSON_TRUE, "rue");
    case 'f':
        return begin_literal(json, at, LB_JSON_FALSE, "alse");
    case 'n':
        return begin_literal(json, at, LB_JSON_NULL, "ull");
    default:
        return *at == '-' || lb_json_is_digit(*at) ? begin_number(json, at) : broken(json, at);
    }
}

static const char *after_value(struct lb_json *json, const char *at)
{
    if (*at == ',' && json->depth) {
        json->place = in_object(json) ? AT_NAME : AT_VALUE;
        return at + 1;
    }
    if (*at == '}' || *at == ']')
        return close_container(json, at, *at == '}');
    return broken(json, at);
}

/* Between values, behind blanks. */
static const char *between(struct lb_json *json, const char *at)
{
    switch (json->place) {
    case AT_FIRST_NAME:
    case AT_NAME:
        if (*at == '"')
            return begin_string(json, at, 1);
        return *at == '}' && json->place == AT_FIRST_NAME ? close_container(json, at, 1) : broken(json, at);
    case AT_COLON:
        json->place = AT_VALUE;
        return *at == ':' ? at + 1 : broken(json, at);
    case AT_NEXT:
        return after_value(json, at);
    default:
        return begin_value(json, at);
    }
}

static const char *step(struct lb_json *json, const char *at, const char *end)
{
    switch (json->place) {
    case IN_STRING:
        return in_string(json, at, end);
    case IN_CHARACTER:
        return in_character(json, at);
    case IN_ESCAPE:
        return in_escape(json, at);
    case IN_CODE:
        return in_code(json, at);
    case IN_LITERAL:
        return in_literal(json, at);
    default:
        return json->place >= IN_MINUS ? in_number(json, at, end) : is_blank(*at) ? at + 1 : between(json, at);
    }
}

/* --- the reader ------------------------------------------------------------------------------------------------------- */

void lb_json_begin(struct lb_json *json, const struct lb_json_path *paths, uint32_t count)
{
    memset(json, 0, offsetof(struct lb_json, word.bytes));
    json->paths = paths;
    json->all = (uint16_t)((UINT32_C(1) << count) - 1);
}

static enum lb_json_event tell(struct lb_json *json)
{
    enum lb_json_event event = (enum lb_json_event)json->pending;
    if (event == LB_JSON_BAD || event == LB_JSON_TOO_DEEP)
        return event;
    if (event == LB_JSON_VALUE && json->streamed && json->depth == json->stream_depth)
        json->streamed = 0;
    json->pending = LB_JSON_MORE;
    return event;
}

enum lb_json_event lb_json_read(struct lb_json *json, const char **at, const char *end)
{
    const char *from = *at, *text = json->streamed ? from : NULL;
    while (*at < end && !json->pending) {
        from = *at;
        *at = step(json, from, end);
        if (json->streamed && !text)
            text = from;
    }
    if (!text || text == *at || json->pending == LB_JSON_BAD || json->pending == LB_JSON_TOO_DEEP)
        return tell(json);
    json->raw = text;
    json->raw_length = (uint64_t)(*at - text);
    return LB_JSON_TEXT;
}

int lb_json_is_whole(const struct lb_json *json)
{
    int ended = json->place == AT_NEXT || lb_json_is_number((enum lb_json_place)json->place);
    return !json->pending && !json->depth && ended;
}

int lb_json_says(const struct lb_json *json, const char *text, uint32_t length)
{
    return json->word.length == length && length <= LB_JSON_WORD && memcmp(json->word.bytes, text, length) == 0;
}
