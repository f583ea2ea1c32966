#include "head.h"

#include <string.h>

#include "claim_headers.h"
#include "runs.h"

/* Where the reading stands. */
struct reader {
    const char *bytes;
    uint32_t at;
    uint32_t count;
    int lenient; /* a response: see head.h */
};

/* --- known names ---------------------------------------------------------------------------------------------------- */

struct known {
    const char *name;
    enum lb_field_name field;
};

/* By length, so that most names are told apart before a byte is looked at. */
static const struct known by_length[20][4] = {
    [2] = {{"te", LB_TE}},
    [4] = {{"host", LB_HOST_FIELD}, {"date", LB_DATE}},
    [6] = {{"cookie", LB_COOKIE}, {"expect", LB_EXPECT}},
    [7] = {{"upgrade", LB_UPGRADE}, {"trailer", LB_TRAILER}},
    [9] = {{"forwarded", LB_FORWARDED}, {"x-lb-cost", LB_LB_COST}},
    [10] = {{"connection", LB_CONNECTION}, {"keep-alive", LB_KEEP_ALIVE}, {"tracestate", LB_TRACESTATE}},
    [11] = {{"client-cert", LB_CLIENT_CERT}, {"traceparent", LB_TRACEPARENT}},
    [12] = {{"x-request-id", LB_X_REQUEST_ID}},
    [13] = {{"authorization", LB_CREDENTIALS}, {"x-lb-priority", LB_LB_PRIORITY}},
    [14] = {{"content-length", LB_CONTENT_LENGTH}, {"http2-settings", LB_HTTP2_SETTINGS}, {"sec-fetch-mode", LB_SEC_FETCH_MODE}},
    [15] = {{"x-forwarded-for", LB_X_FORWARDED_FOR}},
    [16] = {{"proxy-connection", LB_PROXY_CONNECTION},
            {"x-forwarded-host", LB_X_FORWARDED_HOST},
            {"www-authenticate", LB_CHALLENGE}},
    [17] = {{"transfer-encoding", LB_TRANSFER_ENCODING},
            {"x-forwarded-proto", LB_X_FORWARDED_PROTO},
            {"client-cert-chain", LB_CLIENT_CERT}},
    [18] = {{"proxy-authenticate", LB_CHALLENGE}},
    [19] = {{"proxy-authorization", LB_CREDENTIALS}},
};

enum { LENGTHS = sizeof by_length / sizeof by_length[0] };

static enum lb_field_name look_up(const char *name, uint32_t length)
{
    for (const struct known *entry = by_length[length]; entry->name; entry++)
        if ((name[0] | ' ') == entry->name[0] && lb_same_letters(name, entry->name, length))
            return entry->field;
    return LB_OTHER;
}

/* Does it tell backends who the client is, or us what it costs and how it waits? */
static int vouches(enum lb_field_name field)
{
    return field == LB_CLIENT_CERT || field == LB_X_FORWARDED_FOR || field == LB_X_FORWARDED_PROTO || field == LB_FORWARDED ||
           field == LB_X_FORWARDED_HOST || field == LB_X_REQUEST_ID || field == LB_LB_COST || field == LB_LB_PRIORITY;
}

/* To CGI and WSGI (HTTP_CLIENT_CERT, RFC 3875 4.1.18) "Client_Cert" is Client-Cert: a field that vouches is known by it, too. */
static enum lb_field_name look_up_folded(const char *name, uint32_t length)
{
    char folded[LENGTHS];
    for (uint32_t i = 0; i < length; i++)
        folded[i] = (char)(name[i] == '_' ? '-' : name[i]);
    enum lb_field_name field = look_up(folded, length);
    return vouches(field) ? field : LB_OTHER;
}

static enum lb_field_name look_up_short(const char *name, uint32_t length)
{
    if (length >= LENGTHS || !by_length[length][0].name)
        return LB_OTHER;
    enum lb_field_name field = look_up(name, length);
    return field == LB_OTHER && memchr(name, '_', length) ? look_up_folded(name, length) : field;
}

enum lb_field_name lb_field_known(const char *name, uint32_t length)
{
    enum lb_field_name field = look_up_short(name, length);
    return field == LB_OTHER && lb_is_claim_header(name, length) ? LB_PICK : field;
}

/* --- pieces --------------------------------------------------------------------------------------------------------- */

/* CRLF here? */
static enum lb_reading line_end(struct reader *reader)
{
    if (reader->at == reader->count)
        return LB_READ_PARTIAL;
    if (reader->bytes[reader->at] != '\r')
        return LB_READ_BAD;
    if (reader->at + 1 == reader->count)
        return LB_READ_PARTIAL;
    if (reader->bytes[reader->at + 1] != '\n')
        return LB_READ_BAD;
    reader->at += 2;
    return LB_READ_DONE;
}

/* Bytes of one kind, as many as there are. */
static inline struct lb_span run_of(struct reader *reader, enum lb_char kind)
{
    uint32_t start = reader->at;
    reader->at = lb_run_end(reader->bytes, start, reader->count, kind);
    return (struct lb_span){start, reader->at - start};
}

/* A run that a certain byte must follow; the byte is passed over. */
static inline enum lb_reading run_until(struct reader *reader, enum lb_char kind, char end, struct lb_span *run)
{
    *run = run_of(reader, kind);
    if (reader->at == reader->count)
        return LB_READ_PARTIAL;
    if (!run->length || reader->bytes[reader->at] != end)
        return LB_READ_BAD;
    reader->at++;
    return LB_READ_DONE;
}

static inline int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_blanks(struct reader *reader)
{
    while (reader->at < reader->count && is_blank(reader->bytes[reader->at]))
        reader->at++;
}

/* "HTTP/1.x", as much of it as has come. */
static enum lb_reading version(struct reader *reader, uint8_t *minor)
{
    static const char form[] = "HTTP/#.#"; /* # is a digit */
    const char *bytes = reader->bytes + reader->at;
    uint32_t length = reader->count - reader->at;
    if (length >= 8 && memcmp(bytes, "HTTP/1.1", 8) == 0) {
        *minor = 1;
        reader->at += 8;
        return LB_READ_DONE;
    }
    for (uint32_t i = 0; i < 8 && i < length; i++) {
        int fits = form[i] == '#' ? bytes[i] >= '0' && bytes[i] <= '9' : bytes[i] == form[i];
        if (!fits)
            return LB_READ_BAD;
    }
    if (length < 8)
        return LB_READ_PARTIAL;
    if (bytes[5] != '1' || (bytes[7] > '1' && !reader->lenient))
        return LB_READ_VERSION;
    *minor = bytes[7] != '0'; /* a higher one is read as the highest that is known (RFC 9110 2.5) */
    reader->at += 8;
    return LB_READ_DONE;
}

/* RFC 9112 5.1: a proxy removes them from a response. */
static enum lb_reading colon_behind_blanks(struct reader *reader, struct lb_field *field)
{
    if (!field->name.length || !is_blank(reader->bytes[reader->at]))
        return LB_READ_BAD;
    skip_blanks(reader);
    field->blanks = 1;
    if (reader->at == reader->count)
        return LB_READ_PARTIAL;
    return reader->bytes[reader->at++] == ':' ? LB_READ_DONE : LB_READ_BAD;
}

static enum lb_reading field_line(struct reader *reader, struct lb_field *field)
{
    const char *bytes = reader->bytes;
    uint32_t start = reader->at;
    enum lb_reading reading = run_until(reader, LB_TCHAR, ':', &field->name);
    field->blanks = 0;
    if (reading == LB_READ_BAD && reader->lenient)
        reading = colon_behind_blanks(reader, field);
    if (reading != LB_READ_DONE)
        return reading;
    skip_blanks(reader);
    field->value = run_of(reader, LB_VCHAR);
    reading = line_end(reader);
    if (reading != LB_READ_DONE)
        return reading;
    while (field->value.length) {
        if (!is_blank(bytes[field->value.at + field->value.length - 1]))
            break;
        field->value.length--;
    }
    field->line = (struct lb_span){start, reader->at - start};
    const char *name = bytes + field->name.at; /* who a client is, only requests say */
    field->known =
        (uint16_t)(reader->lenient ? look_up_short(name, field->name.length) : lb_field_known(name, field->name.length));
    return LB_READ_DONE;
}

static enum lb_reading fields(struct reader *reader, struct lb_message_head *head, const struct lb_head_limits *limits)
{
    uint32_t most = limits->fields < LB_FIELD_ROOM ? limits->fields : LB_FIELD_ROOM;
    head->field_count = 0;
    for (;;) {
        if (reader->at == reader->count)
            return LB_READ_PARTIAL;
        if (reader->bytes[reader->at] == '\r')
            return line_end(reader);
        if (head->field_count == most)
            return LB_READ_HEAD_LARGE;
        enum lb_reading reading = field_line(reader, &head->fields[head->field_count]);
        if (reading != LB_READ_DONE)
            return reading;
        head->field_count++;
    }
}

/* --- whole heads ---------------------------------------------------------------------------------------------------- */

/* One empty line before a request is forgiven (RFC 9112 2.2). */
static enum lb_reading stray_line(struct reader *reader)
{
    if (reader->count && reader->bytes[0] == '\r')
        return line_end(reader);
    return LB_READ_DONE;
}

static enum lb_reading request_line(struct reader *reader, struct lb_message_head *head, const struct lb_head_limits *limits)
{
    enum lb_reading reading = run_until(reader, LB_TCHAR, ' ', &head->method);
    if (head->method.length > LB_METHOD_BYTES)
        return LB_READ_UNKNOWN; /* RFC 9112 3: longer than any that is known */
    if (reading != LB_READ_DONE)
        return reading;
    reading = run_until(reader, LB_TARGET, ' ', &head->target);
    if (head->target.length > limits->target)
        return LB_READ_TARGET_LONG;
    if (reading == LB_READ_DONE)
        reading = version(reader, &head->minor);
    return reading == LB_READ_DONE ? line_end(reader) : reading;
}

static enum lb_reading status_code(struct reader *reader, uint16_t *status)
{
    uint32_t value = 0;
    for (int i = 0; i < 3; i++, reader->at++) {
        if (reader->at == reader->count)
            return LB_READ_PARTIAL;
        char c = reader->bytes[reader->at];
        if (c < '0' || c > '9')
            return LB_READ_BAD;
        value = value * 10 + (uint32_t)(c - '0');
    }
    *status = (uint16_t)value;
    return value >= 100 ? LB_READ_DONE : LB_READ_BAD; /* from 600 on they mean something to their two ends (RFC 9110 15) */
}

/* At least one, where there may be more. */
static enum lb_reading blanks(struct reader *reader)
{
    if (reader->at == reader->count)
        return LB_READ_PARTIAL;
    if (!is_blank(reader->bytes[reader->at]))
        return LB_READ_BAD;
    skip_blanks(reader);
    return LB_READ_DONE;
}

static enum lb_reading status_line(struct reader *reader, struct lb_message_head *head)
{
    enum lb_reading reading = version(reader, &head->minor);
    if (reading == LB_READ_DONE)
        reading = blanks(reader);
    if (reading == LB_READ_DONE)
        reading = status_code(reader, &head->status);
    if (reading != LB_READ_DONE)
        return reading;
    /* The space before an empty reason is often left out; nothing can hide there. */
    if (reader->at < reader->count && reader->bytes[reader->at] != '\r' && blanks(reader) != LB_READ_DONE)
        return LB_READ_BAD;
    head->reason = run_of(reader, LB_VCHAR);
    return line_end(reader);
}

static enum lb_reading finish(struct reader *reader, struct lb_message_head *head, enum lb_reading reading,
                              const struct lb_head_limits *limits)
{
    if (reading == LB_READ_DONE)
        reading = fields(reader, head, limits);
    head->bytes = reader->at;
    if (reader->at > limits->head || (reading == LB_READ_PARTIAL && reader->count >= limits->head))
        return LB_READ_HEAD_LARGE;
    return reading;
}

enum lb_reading lb_head_request(struct lb_message_head *head, const char *bytes, uint32_t count,
                                const struct lb_head_limits *limits)
{
    struct reader reader = {bytes, 0, count, 0};
    head->target = head->method = (struct lb_span){0, 0};
    head->status = 0;
    enum lb_reading reading = stray_line(&reader);
    head->first = reader.at;
    if (reading == LB_READ_DONE)
        reading = request_line(&reader, head, limits);
    return reading > LB_READ_PARTIAL ? reading : finish(&reader, head, reading, limits);
}

enum lb_reading lb_head_response(struct lb_message_head *head, const char *bytes, uint32_t count,
                                 const struct lb_head_limits *limits)
{
    struct reader reader = {bytes, 0, count, 1};
    head->first = 0;
    enum lb_reading reading = status_line(&reader, head);
    return reading > LB_READ_PARTIAL ? reading : finish(&reader, head, reading, limits);
}

int lb_head_waits(const char *bytes, uint32_t seen, uint32_t count, const struct lb_head_limits *limits)
{
    return count < limits->head && !memchr(bytes + seen, '\n', count - seen);
}
