#include "message.h"

#include "target.h"

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
    } methods[] = {{"GET", LB_GET},     {"HEAD", LB_HEAD},     {"POST", LB_POST},
                   {"PUT", LB_PUT},     {"DELETE", LB_DELETE}, {"OPTIONS", LB_OPTIONS},
                   {"TRACE", LB_TRACE}, {"PATCH", LB_PATCH},   {"CONNECT", LB_CONNECT}};
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

/* --- fields --------------------------------------------------------------------------------------------------------- */

/* What the pass over the fields gathers. */
struct tally {
    int hosts;
    int lengths;
    int known_length;
    int codings; /* Transfer-Encoding elements */
    int chunked; /* the last of them is this one */
    int unknown_coding;
    int close;
    int keep_alive;
    int says_upgrade; /* Connection: upgrade */
};

/* 1*DIGIT. Zeros before it are no part of the value. */
static enum lb_reading read_digits(const char *digits, uint32_t count, uint64_t *value)
{
    enum { MOST_DIGITS = 18, MOST_ZEROS = 64 };
    uint32_t zeros = 0;
    while (zeros + 1 < count && zeros < MOST_ZEROS && digits[zeros] == '0')
        zeros++;
    if (!count || count - zeros > MOST_DIGITS)
        return LB_READ_BAD;
    *value = 0;
    for (uint32_t i = 0; i < count; i++) {
        if (digits[i] < '0' || digits[i] > '9')
            return LB_READ_BAD;
        *value = *value * 10 + (uint64_t)(digits[i] - '0');
    }
    return LB_READ_DONE;
}

/* Once, and a list is refused, even of equals (RFC 9112 6.3). A response may repeat what it says, and is passed on with one. */
static enum lb_reading read_length(struct lb_message *message, const char *bytes, struct lb_span value, struct tally *tally)
{
    uint32_t from = value.at, stop = value.at + value.length, commas = 0;
    for (uint32_t i = from; i < stop; i++)
        commas += bytes[i] == ',';
    int repeated = tally->lengths++ || commas;
    if (!message->head.status)
        return repeated || value.length > 18 ? LB_READ_BAD : read_digits(bytes + from, value.length, &message->length);
    uint32_t at = 0;
    for (uint32_t left = commas + 1; left; left--) {
        struct lb_span one = lb_list_next(bytes, value, &at);
        uint64_t length = 0;
        if (read_digits(bytes + one.at, one.length, &length) != LB_READ_DONE ||
            (tally->known_length && length != message->length))
            return LB_READ_BAD;
        message->length_anew |= repeated || bytes[one.at] == '0';
        message->length = length;
        tally->known_length = 1;
    }
    return LB_READ_DONE;
}

/* coding *( OWS ";" OWS parameter ): its name's length, or 0. Parameters are not looked at, since no coding that has any is known. */
static uint32_t coding_name(const char *bytes, struct lb_span coding)
{
    uint32_t length = 0;
    while (length < coding.length && lb_is(bytes[coding.at + length], LB_TCHAR))
        length++;
    uint32_t end = length;
    while (end < coding.length && is_blank(bytes[coding.at + end]))
        end++;
    return end == coding.length || bytes[coding.at + end] == ';' ? length : 0;
}

/* The one coding that is known is chunked, once, the last, and without a parameter: empty elements (RFC 9110 5.6.1) are read by some
 * only. */
static enum lb_reading read_codings(const char *bytes, struct lb_span value, struct tally *tally)
{
    uint32_t at = 0, commas = 0;
    for (uint32_t i = 0; i < value.length; i++)
        commas += bytes[value.at + i] == ',';
    for (uint32_t left = commas + 1; left; left--) {
        struct lb_span coding = lb_list_next(bytes, value, &at);
        uint32_t name = coding_name(bytes, coding);
        if (!name || tally->chunked) /* what follows chunked leaves the end of the body open (RFC 9112 6.3) */
            return LB_READ_BAD;
        tally->codings++;
        tally->chunked = lb_same_word(bytes + coding.at, name, "chunked", 7);
        tally->unknown_coding |= !tally->chunked;
        if (tally->chunked && name != coding.length)
            return LB_READ_BAD;
    }
    return LB_READ_DONE;
}

static enum lb_reading read_connection(struct lb_message *message, const char *bytes, struct lb_span value, struct tally *tally)
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

/* It is asked of servers: in a response it means nothing, and HTTP/1.0 does not know it (RFC 9110 10.1.1). */
static enum lb_reading read_expectations(struct lb_message *message, const char *bytes, struct lb_span value)
{
    uint32_t at = 0;
    if (message->head.status || !message->head.minor)
        return LB_READ_DONE;
    for (;;) {
        struct lb_span one = lb_list_next(bytes, value, &at);
        if (!one.length)
            return LB_READ_DONE;
        message->expects = 1;
        if (!lb_same_word(bytes + one.at, one.length, "100-continue", 12))
            return LB_READ_EXPECTATION;
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

/* Beside an absolute target it is not used, but not allowed to be nonsense either. In a response it means nothing. */
static enum lb_reading read_host(struct lb_message *message, const char *bytes, struct lb_span value)
{
    struct lb_span authority = message->authority, host = message->host;
    if (message->head.status)
        return LB_READ_DONE;
    if (!lb_target_authority(message, bytes, value))
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
        return read_length(message, bytes, field->value, tally);
    case LB_TRANSFER_ENCODING:
        return read_codings(bytes, field->value, tally);
    case LB_CONNECTION:
        return read_connection(message, bytes, field->value, tally);
    case LB_UPGRADE:
        message->upgrade_to = field->value;
        return LB_READ_DONE;
    case LB_EXPECT:
        return read_expectations(message, bytes, field->value);
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
    case LB_PICK:
    case LB_LB_COST:
    case LB_LB_PRIORITY:
    case LB_CHALLENGE:
    case LB_CREDENTIALS:
    case LB_REMOVED:
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
        if (reading == LB_READ_EXPECTATION)
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
    message->persistent = message->upgrade = message->expects = message->takes_trailers = message->nominated_count = 0;
    message->absolute = message->https = message->length_anew = message->navigates = 0;
    message->authority = message->host = message->path = message->query = message->upgrade_to = message->keep_alive = none;
}

/* --- messages ------------------------------------------------------------------------------------------------------- */

/* RFC 9112 6.1 and 6.3: a length beside a coding is an attack or a mistake; where chunked is not the last coding, a request has no
 * end; a coding in HTTP/1.0 is faulty, but a response is still read, and its connection ends with it. Codings that are not known are
 * told apart from all of these. */
static enum lb_reading framing_faults(const struct lb_message *message, const struct tally *tally)
{
    if (!tally->codings)
        return LB_READ_DONE;
    if (tally->lengths || !tally->chunked || (!message->head.minor && !message->head.status))
        return LB_READ_BAD;
    return tally->unknown_coding ? LB_READ_UNKNOWN : LB_READ_DONE;
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
    reading = lb_target_read(message, bytes);
    if (reading != LB_READ_DONE)
        return reading;
    reading = read_fields(message, bytes, &tally);
    if (reading != LB_READ_DONE && reading != LB_READ_EXPECTATION)
        return reading;
    enum lb_reading framing = framing_faults(message, &tally);
    if (framing == LB_READ_BAD || (!tally.hosts && message->head.minor))
        return LB_READ_BAD;
    if (framing != LB_READ_DONE || reading != LB_READ_DONE)
        return framing != LB_READ_DONE ? framing : reading;
    if (tally.codings)
        message->framing = LB_BODY_CHUNKED;
    else if (message->length)
        message->framing = LB_BODY_LENGTH;
    return LB_READ_DONE;
}

/* RFC 9112 6.3, in its order. */
static enum lb_framing response_framing(const struct lb_message *message, const struct tally *tally, enum lb_method method)
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

enum lb_reading lb_message_response(struct lb_message *message, const char *bytes, uint32_t count,
                                    const struct lb_head_limits *limits, enum lb_method method)
{
    struct tally tally = {0};
    enum lb_reading reading = lb_head_response(&message->head, bytes, count, limits);
    if (reading != LB_READ_DONE)
        return reading;
    clear(message);
    reading = read_fields(message, bytes, &tally);
    if (reading != LB_READ_DONE)
        return reading;
    reading = framing_faults(message, &tally);
    message->framing = (uint8_t)response_framing(message, &tally, method);
    if (message->framing == LB_BODY_TO_END || (tally.codings && !message->head.minor))
        message->persistent = 0;
    return reading;
}

/* --- this forward only -------------------------------------------------------------------------------------------------- */

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
    case LB_PICK:
    case LB_LB_COST:
    case LB_LB_PRIORITY:
    case LB_SEC_FETCH_MODE:
    case LB_CHALLENGE:
    case LB_CREDENTIALS:
    case LB_REMOVED:
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
