#include "server_request.h"

#include <string.h>

#include "../grpc_web.h"
#include "../syntax.h"

enum {
    BESIDE_FIELDS = 256, /* pseudo-headers and te */
};

/* A line of the head. */
struct line {
    char *name;
    char *value;
    uint32_t name_length;
    uint32_t value_length;
};

static int is_named(const struct line *line, const char *name, size_t length)
{
    return line->name_length == length && memcmp(line->name, name, length) == 0;
}

#define IS_NAMED(line, name) is_named(line, name, sizeof(name) - 1)

uint32_t lb_h2_request_bytes(const struct lb_h2_request_out *request)
{
    const char *at = request->head, *end = at + request->count;
    uint32_t lines = 0;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        at++;
        lines++;
    }
    return request->count + lines * LB_HPACK_WRITE_ROOM + BESIDE_FIELDS;
}

/* The next line of the fields, its name in lower case; 0: the head is at its end. */
static int next_line(char **at, const char *end, struct line *line)
{
    char *stop = memchr(*at, '\r', (size_t)(end - *at));
    char *colon = stop ? memchr(*at, ':', (size_t)(stop - *at)) : NULL;
    if (!colon)
        return 0;
    *line = (struct line){*at, colon + 1, (uint32_t)(colon - *at), 0};
    while (line->value < stop && (*line->value == ' ' || *line->value == '\t'))
        line->value++;
    line->value_length = (uint32_t)(stop - line->value);
    while (line->value_length && (line->value[line->value_length - 1] == ' ' || line->value[line->value_length - 1] == '\t'))
        line->value_length--;
    lb_lower_letters(line->name, line->name, line->name_length);
    *at = stop + 2;
    return 1;
}

/* RFC 9113 8.2.2; Host is :authority (8.3.1). */
static int is_left_out(const struct line *line)
{
    return IS_NAMED(line, "host") || IS_NAMED(line, "connection") || IS_NAMED(line, "transfer-encoding") ||
           IS_NAMED(line, "te") || IS_NAMED(line, "upgrade") || IS_NAMED(line, "keep-alive") ||
           IS_NAMED(line, "proxy-connection");
}

/* What differs from request to request would only push others out of the table; secrets are not to be guessed by it. */
static enum lb_hpack_keeping keeping_of(const struct line *line)
{
    if (IS_NAMED(line, "authorization") || IS_NAMED(line, "cookie") || IS_NAMED(line, "proxy-authorization"))
        return LB_HPACK_SECRET;
    if (IS_NAMED(line, "content-length") || IS_NAMED(line, "grpc-timeout") || IS_NAMED(line, "x-request-id") ||
        IS_NAMED(line, "traceparent") || IS_NAMED(line, "x-forwarded-for") || IS_NAMED(line, "forwarded") ||
        IS_NAMED(line, "range") || IS_NAMED(line, "if-none-match") || IS_NAMED(line, "if-modified-since"))
        return LB_HPACK_FORGET;
    return LB_HPACK_REMEMBER;
}

#define PUT(out, writer, name, value, length, keeping) \
    lb_hpack_write(writer, out, name, (uint32_t)sizeof(name) - 1, value, length, keeping)

/* "METHOD TARGET HTTP/1.1". */
static uint8_t *put_first(uint8_t *out, struct lb_hpack_writer *writer, const struct lb_h2_request_out *request, char **rest)
{
    const char *end = request->head + request->count;
    const char *space = memchr(request->head, ' ', request->count);
    const char *target = space + 1, *stop = memchr(target, ' ', (size_t)(end - target));
    const char *scheme = request->tls ? "https" : "http";
    if (request->protocol)
        out = PUT(out, writer, ":method", "CONNECT", 7, LB_HPACK_REMEMBER);
    else
        out = PUT(out, writer, ":method", request->head, (uint32_t)(space - request->head), LB_HPACK_REMEMBER);
    out = PUT(out, writer, ":scheme", scheme, (uint32_t)strlen(scheme), LB_HPACK_REMEMBER);
    enum lb_hpack_keeping keeping = request->trailers ? LB_HPACK_REMEMBER : LB_HPACK_FORGET; /* gRPC has few of them */
    *rest = (char *)(uintptr_t)memchr(stop, '\n', (size_t)(end - stop)) + 1;
    return PUT(out, writer, ":path", target, (uint32_t)(stop - target), keeping);
}

static uint8_t *put_authority(uint8_t *out, struct lb_hpack_writer *writer, char *fields, const char *end)
{
    struct line line;
    while (next_line(&fields, end, &line))
        if (IS_NAMED(&line, "host"))
            return line.value_length ? PUT(out, writer, ":authority", line.value, line.value_length, LB_HPACK_REMEMBER) : out;
    return out;
}

/* A line of a call of gRPC-Web, as gRPC has it: 0, or -1, it has none such. The length is that of the text. */
static int translate(struct line *line, unsigned web)
{
    if (IS_NAMED(line, "content-type"))
        line->value_length = lb_grpc_web_ask(line->value, line->value_length);
    return IS_NAMED(line, "accept") || (web & LB_WEB_TEXT_ASKED && IS_NAMED(line, "content-length")) ? -1 : 0;
}

uint8_t *lb_h2_encode_request(uint8_t *out, struct lb_hpack_writer *writer, const struct lb_h2_request_out *request)
{
    const char *end = request->head + request->count;
    char *fields;
    struct line line;
    out = put_first(out, writer, request, &fields);
    if (request->protocol)
        out = PUT(out, writer, ":protocol", request->protocol, request->protocol_length, LB_HPACK_REMEMBER);
    out = put_authority(out, writer, fields, end);
    while (next_line(&fields, end, &line))
        if (!is_left_out(&line) && !(request->protocol && IS_NAMED(&line, "sec-websocket-key")) &&
            !(request->grpc_web && translate(&line, request->grpc_web) < 0))
            out = lb_hpack_write(writer, out, line.name, line.name_length, line.value, line.value_length, keeping_of(&line));
    if (request->trailers)
        out = PUT(out, writer, "te", "trailers", 8, LB_HPACK_REMEMBER);
    return out;
}
