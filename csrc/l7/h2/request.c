#include "request.h"

#include "../runs.h"
#include "../syntax.h"

/* A field under consideration. */
struct part {
    const char *name;
    const char *value;
    uint32_t name_length;
    uint32_t value_length;
    int named; /* the name is one of HPACK's own */
};

static int is_named(const struct part *part, const char *name, uint32_t length)
{
    return lb_same(part->name, part->name_length, name, length);
}

#define IS_NAMED(part, name) is_named(part, name, (uint32_t)sizeof(name) - 1)

static int says(const char *bytes, struct lb_span span, const char *text, uint32_t length)
{
    return lb_same(bytes + span.at, span.length, text, length);
}

/* --- a field by itself ---------------------------------------------------------------------------------------------- */

/* RFC 9113 8.2.1: a token in lower case. */
static int is_name(const char *name, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        if (!lb_is(name[i], LB_TCHAR) || lb_lower(name[i]) != name[i])
            return 0;
    return length != 0;
}

static int is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* RFC 9113 8.2.1: nothing that ends a line, no blank at either end. */
static int is_value(const char *value, uint32_t length)
{
    if (length && (is_blank(value[0]) || is_blank(value[length - 1])))
        return 0;
    return lb_run_end(value, 0, length, LB_VCHAR) == length;
}

/* RFC 9113 8.2.2: what is about a connection of HTTP/1.1. */
static int is_of_a_connection(const struct part *part)
{
    switch (part->name_length) {
    case 2:
        return IS_NAMED(part, "te") && !lb_same(part->value, part->value_length, "trailers", 8);
    case 7:
        return IS_NAMED(part, "upgrade");
    case 10:
        return IS_NAMED(part, "connection") || IS_NAMED(part, "keep-alive");
    case 16:
        return IS_NAMED(part, "proxy-connection");
    case 17:
        return IS_NAMED(part, "transfer-encoding");
    default:
        return 0;
    }
}

static struct part part_of(const struct lb_hpack_field *field)
{
    return (struct part){field->name, field->value, field->name_length, field->value_length, field->static_index != 0};
}

static int is_regular(const struct part *part)
{
    return (part->named || is_name(part->name, part->name_length)) && is_value(part->value, part->value_length) &&
           !is_of_a_connection(part);
}

int lb_h2_is_regular(const struct lb_hpack_field *field)
{
    struct part part = part_of(field);
    return is_regular(&part);
}

int lb_h2_is_trailer(const struct lb_hpack_field *field)
{
    struct part part = part_of(field);
    int pseudo = field->name_length && field->name[0] == ':'; /* of the static table: its names are not looked at */
    return !pseudo && is_regular(&part) && !IS_NAMED(&part, "content-length") && !IS_NAMED(&part, "host") &&
           !IS_NAMED(&part, "te");
}

/* --- pseudo-headers ------------------------------------------------------------------------------------------------- */

/* Where the value of this pseudo-header is kept; NULL: there is no such. */
static struct lb_span *place_of(struct lb_h2_request *request, const struct part *part)
{
    if (IS_NAMED(part, ":method"))
        return &request->method;
    if (IS_NAMED(part, ":path"))
        return &request->path;
    if (IS_NAMED(part, ":scheme"))
        return &request->scheme;
    if (IS_NAMED(part, ":authority"))
        return &request->authority;
    return IS_NAMED(part, ":protocol") ? &request->protocol : NULL;
}

static int is_run(const char *value, uint32_t length, enum lb_char kind)
{
    return length && lb_run_end(value, 0, length, kind) == length;
}

/* Each once, before all other fields, and never empty (8.3); an empty :authority would be none (8.3.1). */
static void take_pseudo(struct lb_h2_request *request, const char *base, const struct part *part)
{
    struct lb_span *place = place_of(request, part);
    enum lb_char kind = place == &request->path || place == &request->authority ? LB_TARGET : LB_TCHAR;
    if (!place || place->length || request->regular || !is_run(part->value, part->value_length, kind)) {
        request->malformed = 1;
        return;
    }
    *place = (struct lb_span){(uint32_t)(part->value - base), part->value_length};
}

/* --- all other fields ------------------------------------------------------------------------------------------------ */

static int is_same_but_for_case(const char *a, struct lb_span span, const struct part *part)
{
    int same = span.length == part->value_length;
    for (uint32_t i = 0; same && i < span.length; i++)
        same = lb_lower(a[span.at + i]) == lb_lower(part->value[i]);
    return same;
}

/* Its line stays only where no :authority has said the same. Returns whether it stays. */
static int keeps_host(struct lb_h2_request *request, const char *base, const struct part *part)
{
    if (!request->authority.length) {
        request->has_host = 1;
        return 1;
    }
    request->ambiguous |= (uint8_t)!is_same_but_for_case(base, request->authority, part);
    return 0;
}

static void take_regular(struct lb_h2_request *request, const char *base, const struct part *part, uint32_t line_end)
{
    if (!request->regular)
        request->lines = request->end;
    request->regular = 1;
    if (!is_regular(part)) {
        request->malformed = 1;
        return;
    }
    if (IS_NAMED(part, "host") && !keeps_host(request, base, part))
        return;
    request->has_length |= (uint8_t)IS_NAMED(part, "content-length");
    request->cookies += (uint32_t)IS_NAMED(part, "cookie");
    request->end = line_end;
}

void lb_h2_request_field(struct lb_h2_request *request, char *base, const struct lb_hpack_field *field)
{
    struct part part = part_of(field);
    uint32_t line_end = (uint32_t)(field->value + field->value_length + 2 - base);
    request->list += field->name_length + field->value_length + LB_HPACK_ENTRY_COST;
    request->fields++;
    if (!part.name_length || part.name[0] != ':') {
        take_regular(request, base, &part, line_end);
        return;
    }
    take_pseudo(request, base, &part);
    request->end = line_end;
}

/* --- the request ---------------------------------------------------------------------------------------------------- */

/* A tunnel of HTTP/2 would lead past all routes, as one by `Upgrade: h2c` (h1/client.c). */
static int asks_for_h2c(const struct lb_h2_request *request, const char *base)
{
    return request->protocol.length == 3 && lb_same_word(base + request->protocol.at, 3, "h2c", 3);
}

/* RFC 9113 8.3.1 and 8.5, RFC 8441 4. */
static int has_what_it_needs(const struct lb_h2_request *request, const char *base)
{
    int connects = says(base, request->method, "CONNECT", 7);
    if (!request->method.length)
        return 0;
    if (connects && !request->protocol.length)
        return request->authority.length && !request->scheme.length && !request->path.length;
    if (request->protocol.length && (!(connects && request->authority.length) || asks_for_h2c(request, base)))
        return 0;
    return request->scheme.length && request->path.length;
}

/* 8.3.1: it begins with a slash; or it is "*", of OPTIONS. */
static int has_a_path(const struct lb_h2_request *request, const char *base)
{
    return !request->path.length || base[request->path.at] == '/' ||
           (says(base, request->path, "*", 1) && says(base, request->method, "OPTIONS", 7));
}

int lb_h2_request_is_malformed(const struct lb_h2_request *request, const char *base)
{
    return request->malformed || !has_what_it_needs(request, base) || !has_a_path(request, base);
}

static char *put(char *out, const char *text, uint32_t length)
{
    memcpy(out, text, length);
    return out + length;
}

#define PUT(out, text) put(out, text, (uint32_t)sizeof(text) - 1)

static char *put_span(char *out, const char *base, struct lb_span span)
{
    return put(out, base + span.at, span.length);
}

static char *put_first_line(char *out, const struct lb_h2_request *request, const char *base)
{
    out = request->protocol.length ? PUT(out, "GET") : put_span(out, base, request->method);
    *out++ = ' ';
    out = put_span(out, base, request->path.length ? request->path : request->authority);
    return PUT(out, " HTTP/1.1\r\n");
}

/* RFC 8441 5: what asked for a WebSocket by CONNECT asks HTTP/1.1 by Upgrade. */
static char *put_upgrade(char *out, const struct lb_h2_request *request, const char *base, const char *key)
{
    out = PUT(out, "connection: upgrade\r\nupgrade: ");
    out = put_span(out, base, request->protocol);
    out = PUT(out, "\r\nsec-websocket-key: ");
    return PUT(put(out, key, 24), "\r\n");
}

static int is_cookie(const char *line)
{
    return memcmp(line, "cookie: ", 8) == 0;
}

/* All cookies in the place of the first. line: where that one stands. */
static char *put_cookies(char *out, const char *line, const char *end)
{
    out = PUT(out, "cookie: ");
    for (const char *separator = ""; line < end; line = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1) {
        if (end - line < 8 || !is_cookie(line))
            continue;
        const char *stop = memchr(line, '\r', (size_t)(end - line));
        out = put(out, separator, (uint32_t)strlen(separator));
        out = put(out, line + 8, (uint32_t)(stop - line - 8));
        separator = "; ";
    }
    return PUT(out, "\r\n");
}

static char *put_lines(char *out, const struct lb_h2_request *request, const char *base)
{
    const char *line = base + request->lines, *end = base + request->end;
    if (request->cookies <= 1)
        return put(out, line, (uint32_t)(end - line));
    for (int first = 1; line < end;) {
        const char *next = (const char *)memchr(line, '\n', (size_t)(end - line)) + 1;
        if (end - line < 8 || !is_cookie(line)) {
            out = put(out, line, (uint32_t)(next - line));
        } else if (first) {
            out = put_cookies(out, line, end);
            first = 0;
        }
        line = next;
    }
    return out;
}

/* Bytes beside those of the fields as they came: "HTTP/1.1" and "host", and what is written where a body follows or another protocol is asked
 * for. */
enum { BESIDE = 32, BESIDE_MORE = 256 };

/* Each pseudo-header stands once, but :authority of CONNECT, which is the target as well. */
uint32_t lb_h2_request_most(const struct lb_h2_request *request, int end_stream)
{
    uint32_t twice = request->path.length ? 0 : request->authority.length;
    return request->end + twice + (end_stream && !request->protocol.length ? BESIDE : BESIDE_MORE);
}

uint32_t lb_h2_request_compose(char *out, const struct lb_h2_request *request, const char *base, int end_stream, const char *key)
{
    char *begin = out;
    out = put_first_line(out, request, base);
    if (request->authority.length)
        out = PUT(put_span(PUT(out, "host: "), base, request->authority), "\r\n");
    if (request->protocol.length)
        out = put_upgrade(out, request, base, key);
    else if (!end_stream && !request->has_length)
        out = PUT(out, "transfer-encoding: chunked\r\n");
    if (request->regular)
        out = put_lines(out, request, base);
    return (uint32_t)(PUT(out, "\r\n") - begin);
}
