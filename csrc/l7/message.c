#include "message.h"

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

struct lb_span lb_list_next(const char *bytes, struct lb_span list, uint32_t *at)
{
    while (*at < list.length) {
        uint32_t from = list.at + *at, end = from, stop = list.at + list.length;
        while (end < stop && bytes[end] != ',')
            end++;
        *at = end + 1 - list.at;
        while (from < end && is_blank(bytes[from]))
            from++;
        while (end > from && is_blank(bytes[end - 1]))
            end--;
        if (end > from)
            return (struct lb_span){from, end - from};
    }
    return (struct lb_span){list.at, 0};
}

/* --- methods -------------------------------------------------------------------------------------------------------- */

static enum lb_method method_of(const char *name, uint32_t length)
{
    static const struct {
        const char *name;
        enum lb_method method;
    } methods[] = {{"GET", LB_GET},         {"HEAD", LB_HEAD},       {"POST", LB_POST},
                   {"PUT", LB_PUT},         {"DELETE", LB_DELETE},   {"OPTIONS", LB_OPTIONS},
                   {"TRACE", LB_TRACE},     {"PATCH", LB_PATCH},     {"CONNECT", LB_CONNECT}};
    for (unsigned i = 0; i < sizeof methods / sizeof *methods; i++)
        if (lb_same(name, length, methods[i].name, (uint32_t)strlen(methods[i].name)))
            return methods[i].method;
    return LB_METHOD_OTHER;
}

int lb_method_is_idempotent(enum lb_method method)
{
    switch (method) {
    case LB_GET:
    case LB_HEAD:
    case LB_PUT:
    case LB_DELETE:
    case LB_OPTIONS:
    case LB_TRACE:
        return 1;
    case LB_METHOD_OTHER:
    case LB_POST:
    case LB_PATCH:
    case LB_CONNECT:
        return 0;
    }
    return 0;
}

/* --- authority and target ------------------------------------------------------------------------------------------- */

static int is_port(const char *bytes, uint32_t length)
{
    uint32_t value = 0;
    if (length > 5)
        return 0;
    for (uint32_t i = 0; i < length; i++) {
        if (bytes[i] < '0' || bytes[i] > '9')
            return 0;
        value = value * 10 + (uint32_t)(bytes[i] - '0');
    }
    return value <= 65535;
}

/* "[" IPv6 "]": the bytes are looked at, the address is not read. */
static uint32_t bracketed(const char *bytes, uint32_t length)
{
    uint32_t at = 1;
    while (at < length && (lb_hex(bytes[at]) >= 0 || bytes[at] == ':' || bytes[at] == '.'))
        at++;
    return at > 3 && at < length && bytes[at] == ']' ? at + 1 : 0;
}

static uint32_t registered_name(const char *bytes, uint32_t length)
{
    uint32_t at = 0;
    while (at < length && lb_is(bytes[at], LB_HOST)) {
        if (bytes[at] == '%' && (at + 2 >= length || lb_hex(bytes[at + 1]) < 0 || lb_hex(bytes[at + 2]) < 0))
            return 0;
        at++;
    }
    return at;
}

/* uri-host [":" port] (RFC 9110 7.2, RFC 3986 3.2), not empty, without user information. */
static int read_authority(struct lb_message *message, const char *bytes, struct lb_span authority)
{
    const char *text = bytes + authority.at;
    uint32_t length = authority.length;
    uint32_t host = length && text[0] == '[' ? bracketed(text, length) : registered_name(text, length);
    if (!host || (host < length && (text[host] != ':' || !is_port(text + host + 1, length - host - 1))))
        return 0;
    message->authority = authority;
    message->host = (struct lb_span){authority.at, host};
    return 1;
}

static void split_path(struct lb_message *message, const char *bytes, struct lb_span rest)
{
    const char *mark = rest.length ? memchr(bytes + rest.at, '?', rest.length) : NULL;
    uint32_t path = mark ? (uint32_t)(mark - (bytes + rest.at)) : rest.length;
    message->path = (struct lb_span){rest.at, path};
    message->query = (struct lb_span){rest.at + path, rest.length - path};
}

/* absolute-form (RFC 9112 3.2.2): its authority counts, whatever Host says. */
static enum lb_reading absolute_target(struct lb_message *message, const char *bytes)
{
    static const char scheme[] = "http://";
    const uint32_t skip = sizeof scheme - 1;
    struct lb_span target = message->head.target, authority;
    if (target.length <= skip || !lb_same_word(bytes + target.at, skip, scheme, skip))
        return LB_READ_BAD;
    uint32_t end = skip;
    while (end < target.length && bytes[target.at + end] != '/' && bytes[target.at + end] != '?')
        end++;
    authority = (struct lb_span){target.at + skip, end - skip};
    if (!read_authority(message, bytes, authority))
        return LB_READ_BAD;
    message->absolute = 1;
    split_path(message, bytes, (struct lb_span){target.at + end, target.length - end});
    return LB_READ_DONE;
}

static enum lb_reading read_target(struct lb_message *message, const char *bytes)
{
    struct lb_span target = message->head.target;
    message->path = message->query = (struct lb_span){target.at, 0};
    if (message->method == LB_CONNECT)
        return LB_READ_UNKNOWN; /* tunnels are for forward proxies */
    if (bytes[target.at] == '/') {
        split_path(message, bytes, target);
        return LB_READ_DONE;
    }
    if (bytes[target.at] == '*' && target.length == 1)
        return message->method == LB_OPTIONS ? LB_READ_DONE : LB_READ_BAD;
    return absolute_target(message, bytes);
}

/* --- fields --------------------------------------------------------------------------------------------------------- */

/* What the pass over the fields gathers. */
struct tally {
    int hosts;
    int lengths;
    int codings; /* Transfer-Encoding elements */
    int close;
    int keep_alive;
    int says_upgrade; /* Connection: upgrade */
};

/* 1*DIGIT, once (RFC 9112 6.3, 5: a list, even of equals, is refused). */
static enum lb_reading read_length(struct lb_message *message, const char *bytes, struct lb_span value)
{
    uint64_t length = 0;
    if (!value.length || value.length > 18)
        return LB_READ_BAD;
    for (uint32_t i = 0; i < value.length; i++) {
        char c = bytes[value.at + i];
        if (c < '0' || c > '9')
            return LB_READ_BAD;
        length = length * 10 + (uint64_t)(c - '0');
    }
    message->length = length;
    return LB_READ_DONE;
}

/* The one coding that is known is chunked, once, and nothing beside it: empty elements (RFC 9110 5.6.1) are read by some only. */
static enum lb_reading read_codings(const char *bytes, struct lb_span value, struct tally *tally)
{
    uint32_t at = 0;
    for (;;) {
        struct lb_span coding = lb_list_next(bytes, value, &at);
        if (!coding.length)
            return tally->codings && value.length == 7 ? LB_READ_DONE : LB_READ_BAD;
        for (uint32_t i = 0; i < coding.length; i++)
            if (!lb_is(bytes[coding.at + i], LB_TCHAR))
                return LB_READ_BAD;
        if (!lb_same_word(bytes + coding.at, coding.length, "chunked", 7))
            return LB_READ_UNKNOWN;
        if (tally->codings++)
            return LB_READ_BAD;
    }
}

static enum lb_reading read_connection(struct lb_message *message, const char *bytes, struct lb_span value,
                                       struct tally *tally)
{
    uint32_t at = 0;
    for (;;) {
        struct lb_span option = lb_list_next(bytes, value, &at);
        const char *word = bytes + option.at;
        if (!option.length)
            return LB_READ_DONE;
        if (lb_same_word(word, option.length, "close", 5))
            tally->close = 1;
        else if (lb_same_word(word, option.length, "keep-alive", 10))
            tally->keep_alive = 1;
        else if (lb_same_word(word, option.length, "upgrade", 7))
            tally->says_upgrade = 1;
        else if (message->nominated_count == LB_NOMINATED_ROOM)
            return LB_READ_HEAD_LARGE;
        else
            message->nominated[message->nominated_count++] = option;
    }
}

/* Is "trailers" among what TE lists (RFC 9110 10.1.4)? */
static int names_trailers(const char *bytes, struct lb_span value)
{
    uint32_t at = 0;
    for (;;) {
        struct lb_span coding = lb_list_next(bytes, value, &at);
        if (!coding.length || lb_same_word(bytes + coding.at, coding.length, "trailers", 8))
            return coding.length != 0;
    }
}

/* Beside an absolute target it is not used, but not allowed to be nonsense either. In an answer it means nothing. */
static enum lb_reading read_host(struct lb_message *message, const char *bytes, struct lb_span value)
{
    struct lb_span authority = message->authority, host = message->host;
    if (message->head.status)
        return LB_READ_DONE;
    if (!read_authority(message, bytes, value))
        return LB_READ_BAD;
    if (message->absolute) {
        message->authority = authority;
        message->host = host;
    }
    return LB_READ_DONE;
}

static enum lb_reading read_field(struct lb_message *message, const char *bytes, const struct lb_field *field,
                                  struct tally *tally)
{
    switch ((enum lb_field_name)field->known) {
    case LB_HOST_FIELD:
        if (tally->hosts++)
            return LB_READ_BAD;
        return read_host(message, bytes, field->value);
    case LB_CONTENT_LENGTH:
        return tally->lengths++ ? LB_READ_BAD : read_length(message, bytes, field->value);
    case LB_TRANSFER_ENCODING:
        return read_codings(bytes, field->value, tally);
    case LB_CONNECTION:
        return read_connection(message, bytes, field->value, tally);
    case LB_UPGRADE:
        message->upgrade_to = field->value;
        return LB_READ_DONE;
    case LB_EXPECT:
        if (message->head.status) /* it is asked of servers: in an answer it means nothing */
            return LB_READ_DONE;
        message->expects = 1;
        return lb_same_word(bytes + field->value.at, field->value.length, "100-continue", 12) ? LB_READ_DONE
                                                                                           : LB_READ_EXPECTATION;
    case LB_KEEP_ALIVE:
        if (!lb_message_has(message, LB_KEEP_ALIVE))
            message->keep_alive = field->value;
        return LB_READ_DONE;
    case LB_TE:
        message->takes_trailers |= (uint8_t)names_trailers(bytes, field->value);
        return LB_READ_DONE;
    case LB_OTHER:
    case LB_PROXY_CONNECTION:
    case LB_COOKIE:
    case LB_DATE:
    case LB_FORWARDED:
    case LB_X_FORWARDED_FOR:
    case LB_X_FORWARDED_PROTO:
    case LB_X_FORWARDED_HOST:
    case LB_X_REQUEST_ID:
    case LB_HTTP2_SETTINGS:
    case LB_CLIENT_CERT:
    case LB_TRAILER:
    case LB_TRACEPARENT:
    case LB_TRACESTATE:
    case LB_CLAIM:
    case LB_LB_COST:
    case LB_CHALLENGE:
    case LB_CREDENTIALS:
        return LB_READ_DONE;
    case LB_SEC_FETCH_MODE:
        if (lb_same(bytes + field->value.at, field->value.length, "navigate", 8))
            message->navigates = 1;
        return LB_READ_DONE;
    }
    return LB_READ_DONE;
}

_Static_assert(LB_CREDENTIALS < 32, "a bit of lb_message.seen for each name");

static enum lb_reading read_fields(struct lb_message *message, const char *bytes, struct tally *tally)
{
    const struct lb_message_head *head = &message->head;
    enum lb_reading unknown = LB_READ_DONE;
    for (uint32_t i = 0; i < head->field_count; i++) {
        if (head->fields[i].known == LB_OTHER)
            continue;
        enum lb_reading reading = read_field(message, bytes, &head->fields[i], tally);
        message->seen |= UINT32_C(1) << head->fields[i].known;
        if (reading == LB_READ_UNKNOWN || reading == LB_READ_EXPECTATION)
            unknown = reading; /* only if nothing worse follows */
        else if (reading != LB_READ_DONE)
            return reading;
    }
    message->persistent = head->minor ? !tally->close : tally->keep_alive && !tally->close;
    message->upgrade = tally->says_upgrade && message->upgrade_to.length && head->minor;
    return unknown;
}

static void clear(struct lb_message *message)
{
    const struct lb_span none = {0, 0};
    message->length = 0;
    message->seen = 0;
    message->framing = LB_BODY_NONE;
    message->method = LB_METHOD_OTHER;
    message->persistent = message->upgrade = message->expects = message->takes_trailers = message->absolute = message->nominated_count = 0;
    message->navigates = 0;
    message->authority = message->host = message->path = message->query = message->upgrade_to = message->keep_alive = none;
}

/* --- messages ------------------------------------------------------------------------------------------------------- */

/* RFC 9112 6.1 and 6.3: both is an attack or a mistake; a coding in HTTP/1.0 is faulty. */
static enum lb_reading framing_faults(const struct lb_message *message, const struct tally *tally)
{
    return tally->codings && (tally->lengths || !message->head.minor) ? LB_READ_BAD : LB_READ_DONE;
}

enum lb_reading lb_message_request(struct lb_message *message, const char *bytes, uint32_t count,
                                   const struct lb_head_limits *limits)
{
    struct tally tally = {0};
    enum lb_reading reading = lb_head_request(&message->head, bytes, count, limits);
    if (reading != LB_READ_DONE)
        return reading;
    clear(message);
    message->method = (uint8_t)method_of(bytes + message->head.method.at, message->head.method.length);
    reading = read_target(message, bytes);
    if (reading != LB_READ_DONE)
        return reading;
    reading = read_fields(message, bytes, &tally);
    if (reading != LB_READ_DONE)
        return reading;
    if (framing_faults(message, &tally) != LB_READ_DONE || (!tally.hosts && message->head.minor))
        return LB_READ_BAD;
    if (tally.codings)
        message->framing = LB_BODY_CHUNKED;
    else if (message->length)
        message->framing = LB_BODY_LENGTH;
    return LB_READ_DONE;
}

/* RFC 9112 6.3, in its order. */
static enum lb_framing answer_framing(const struct lb_message *message, const struct tally *tally, enum lb_method method)
{
    uint16_t status = message->head.status;
    if (method == LB_HEAD || status < 200 || status == 204 || status == 304)
        return LB_BODY_NONE;
    if (tally->codings)
        return LB_BODY_CHUNKED;
    if (tally->lengths)
        return message->length ? LB_BODY_LENGTH : LB_BODY_NONE;
    return LB_BODY_TO_END;
}

enum lb_reading lb_message_answer(struct lb_message *message, const char *bytes, uint32_t count,
                                  const struct lb_head_limits *limits, enum lb_method method)
{
    struct tally tally = {0};
    enum lb_reading reading = lb_head_answer(&message->head, bytes, count, limits);
    if (reading != LB_READ_DONE)
        return reading;
    clear(message);
    reading = read_fields(message, bytes, &tally);
    if (reading != LB_READ_DONE)
        return reading;
    reading = framing_faults(message, &tally);
    message->framing = (uint8_t)answer_framing(message, &tally, method);
    if (message->framing == LB_BODY_TO_END)
        message->persistent = 0;
    return reading;
}

/* --- this hop only -------------------------------------------------------------------------------------------------- */

/* Connection cannot take away what every recipient needs. */
static int is_protected(const struct lb_field *field)
{
    return field->known == LB_HOST_FIELD || field->known == LB_CONTENT_LENGTH;
}

int lb_message_is_hop_field(const struct lb_message *message, const char *bytes, const struct lb_field *field)
{
    switch ((enum lb_field_name)field->known) {
    case LB_CONNECTION:
    case LB_KEEP_ALIVE:
    case LB_PROXY_CONNECTION:
    case LB_TE:
    case LB_TRANSFER_ENCODING:
    case LB_UPGRADE:
    case LB_HTTP2_SETTINGS:
        return 1;
    case LB_OTHER:
    case LB_HOST_FIELD:
    case LB_CONTENT_LENGTH:
    case LB_EXPECT:
    case LB_COOKIE:
    case LB_DATE:
    case LB_FORWARDED:
    case LB_X_FORWARDED_FOR:
    case LB_X_FORWARDED_PROTO:
    case LB_X_FORWARDED_HOST:
    case LB_X_REQUEST_ID:
    case LB_CLIENT_CERT:
    case LB_TRAILER:
    case LB_TRACEPARENT:
    case LB_TRACESTATE:
    case LB_CLAIM:
    case LB_LB_COST:
    case LB_SEC_FETCH_MODE:
    case LB_CHALLENGE:
    case LB_CREDENTIALS:
        break;
    }
    for (uint32_t i = 0; i < message->nominated_count; i++) {
        struct lb_span word = message->nominated[i];
        if (word.length != field->name.length || is_protected(field))
            continue;
        uint32_t same = 0;
        while (same < word.length && lb_lower(bytes[word.at + same]) == lb_lower(bytes[field->name.at + same]))
            same++;
        if (same == word.length)
            return 1;
    }
    return 0;
}
