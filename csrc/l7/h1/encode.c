#include "encode.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "../../core/ip.h"
#include "../caller.h"

static char *put(char *to, const void *bytes, size_t count)
{
    memcpy(to, bytes, count);
    return to + count;
}

#define PUT(to, literal) put(to, literal, sizeof(literal) - 1)

static char *put_span(char *to, const char *bytes, struct lb_span span)
{
    return put(to, bytes + span.at, span.length);
}

/* A line that does not go on as it came. */
static char *put_line(char *to, const char *bytes, const struct lb_field *field)
{
    to = put_span(to, bytes, field->name);
    to = PUT(to, ": ");
    to = put_span(to, bytes, field->value);
    return PUT(to, "\r\n");
}

/* All lines but those that leave() names, and those that an edit drops; neighbours go in one piece. */
static char *put_fields(char *to, const struct lb_message *message, const char *bytes,
                        int (*leave)(const struct lb_message *, const char *, const struct lb_field *, const void *),
                        const void *context, const struct lb_edited_head *edited)
{
    const struct lb_message_head *head = &message->head;
    const uint64_t dropped = edited ? edited->lengths : 0;
    uint32_t from = 0, until = 0;
    for (uint32_t i = 0; i < head->field_count; i++) {
        const struct lb_field *field = &head->fields[i];
        if (((field->known != LB_OTHER || message->nominated_count) && leave(message, bytes, field, context)) ||
            (dropped && lb_edited_drops(edited, bytes + field->name.at, field->name.length))) {
            to = put(to, bytes + from, until - from);
            from = until = 0;
            continue;
        }
        if (field->blanks) {
            to = put(to, bytes + from, until - from);
            to = put_line(to, bytes, field);
            from = until = 0;
            continue;
        }
        if (from == until)
            from = field->line.at;
        until = field->line.at + field->line.length;
    }
    return put(to, bytes + from, until - from);
}

/* --- requests ------------------------------------------------------------------------------------------------------- */

static int believes_field(const struct lb_forward *forward, const char *bytes, const struct lb_field *field)
{
    return lb_forward_believes(forward, bytes + field->name.at, field->name.length);
}

/* Is such a header there that stays? name: its own. */
static int stays(const struct lb_message *message, const struct lb_forward *forward, enum lb_field_name known, const char *name)
{
    return lb_message_has(message, known) && lb_forward_believes(forward, name, (uint32_t)strlen(name));
}

/* Fields of a request that the balancer writes itself, or that a stranger must not bring. */
static int leave_in_request(const struct lb_message *message, const char *bytes, const struct lb_field *field,
                            const void *context)
{
    const struct lb_forward *forward = context;
    const struct lb_listener_row *listener = forward->listener;
    switch ((enum lb_field_name)field->known) {
    case LB_HOST_FIELD:
        return message->absolute;
    case LB_REMOVED:
        return 1;
    case LB_X_FORWARDED_FOR:
        if (listener->forwarded & LB_FORWARDED_X || !believes_field(forward, bytes, field))
            return 1; /* what is believed of it goes into our own */
        break;
    case LB_X_FORWARDED_PROTO:
    case LB_X_FORWARDED_HOST:
    case LB_FORWARDED:
    case LB_PICK:
        if (!believes_field(forward, bytes, field))
            return 1;
        break;
    case LB_X_REQUEST_ID:
        return listener->request_id && !believes_field(forward, bytes, field);
    case LB_CLIENT_CERT: /* RFC 9440 4: whoever could bring one would be believed to be somebody else */
        return !believes_field(forward, bytes, field) || forward->certificate;
    case LB_LB_COST:
        if (!forward->trusted && listener->cost_header != LB_COST_ANY)
            return 1;
        break;
    case LB_LB_PRIORITY:
        if (!forward->trusted && !listener->priority_of_any)
            return 1;
        break;
    case LB_TRACEPARENT:
        return forward->trace != NULL;
    case LB_TRACESTATE:
        return forward->trace && forward->trace_begins;
    case LB_EXPECT:
        return !message->head.minor; /* it was not heeded, and must not be by HTTP/1.1 (RFC 9110 10.1.1) */
    case LB_TRAILER:
        return !forward->trailers; /* it announces what will not come */
    case LB_OTHER:
    case LB_CONTENT_LENGTH:
    case LB_TRANSFER_ENCODING:
    case LB_CONNECTION:
    case LB_KEEP_ALIVE:
    case LB_PROXY_CONNECTION:
    case LB_TE:
    case LB_UPGRADE:
    case LB_COOKIE:
    case LB_DATE:
    case LB_HTTP2_SETTINGS:
    case LB_SEC_FETCH_MODE:
    case LB_CHALLENGE:
    case LB_CREDENTIALS:
        break;
    }
    return lb_message_is_hop_field(message, bytes, field);
}

/* One field with all that came before us in it, then our peer. */
static char *put_forwarded_for(char *to, const struct lb_message *message, const char *bytes, const struct lb_forward *forward)
{
    char *line = to, *values = to = PUT(to, "X-Forwarded-For: ");
    int kept = stays(message, forward, LB_X_FORWARDED_FOR, "x-forwarded-for");
    for (uint32_t i = 0; kept && i < message->head.field_count; i++)
        if (message->head.fields[i].known == LB_X_FORWARDED_FOR && message->head.fields[i].value.length) {
            to = put_span(to, bytes, message->head.fields[i].value);
            to = PUT(to, ", ");
        }
    if (lb_forward_has_address(forward->peer))
        to = lb_forward_write_address(to, forward->peer);
    else if (to == values)
        return line;
    else
        to -= sizeof ", " - 1;
    return PUT(to, "\r\n");
}

/* What a route has taken from the path, behind what a proxy before us has. */
static char *put_prefix(char *to, const struct lb_edited *edited)
{
    if (!edited->prefix_length || edited->request.own & LB_OWN_X_FORWARDED_PREFIX)
        return to;
    to = PUT(to, "X-Forwarded-Prefix: ");
    to = put(to, edited->prefix, edited->prefix_length);
    return PUT(to, "\r\n");
}

static char *put_x_forwarded(char *to, const struct lb_message *message, const char *bytes, const struct lb_forward *forward)
{
    uint32_t taken = forward->edited ? forward->edited->request.own : 0;
    if (!(taken & LB_OWN_X_FORWARDED_FOR))
        to = put_forwarded_for(to, message, bytes, forward);
    if (!(taken & LB_OWN_X_FORWARDED_PROTO) && !stays(message, forward, LB_X_FORWARDED_PROTO, "x-forwarded-proto"))
        to = forward->tls ? PUT(to, "X-Forwarded-Proto: https\r\n") : PUT(to, "X-Forwarded-Proto: http\r\n");
    if (message->authority.length && !(taken & LB_OWN_X_FORWARDED_HOST) &&
        !stays(message, forward, LB_X_FORWARDED_HOST, "x-forwarded-host")) {
        to = PUT(to, "X-Forwarded-Host: ");
        to = put_span(to, bytes, message->authority);
        to = PUT(to, "\r\n");
    }
    return forward->edited ? put_prefix(to, forward->edited) : to;
}

static char *put_node(char *to, const uint8_t ip[16])
{
    if (lb_ip_is_v4(ip))
        return lb_forward_write_address(to, ip);
    if (!lb_forward_has_address(ip))
        return PUT(to, "unknown");
    to = PUT(to, "\"[");
    to = lb_forward_write_address(to, ip);
    return PUT(to, "]\"");
}

/* RFC 7239 4 and 6: an IPv6 address is bracketed and quoted, a host may need quotes. A line of its own joins the list. */
static char *put_rfc7239(char *to, const struct lb_message *message, const char *bytes, const struct lb_forward *forward)
{
    to = PUT(to, "Forwarded: for=");
    to = put_node(to, forward->peer);
    if (message->authority.length) {
        to = PUT(to, ";host=\"");
        to = put_span(to, bytes, message->authority);
        to = PUT(to, "\"");
    }
    return forward->tls ? PUT(to, ";proto=https\r\n") : PUT(to, ";proto=http\r\n");
}

/* A byte sequence of a structured field (RFC 9440 2.1, RFC 8941 3.3.5). */
static char *put_certificate(char *to, const char *certificate)
{
    to = PUT(to, "Client-Cert: :");
    to = put(to, certificate, strlen(certificate));
    return PUT(to, ":\r\n");
}

static char *put_id(char *to, const uint64_t id[2])
{
    to = PUT(to, "X-Request-Id: ");
    to = lb_forward_write_id(to, id);
    return PUT(to, "\r\n");
}

static char *put_trace(char *to, const struct lb_trace *trace)
{
    to = PUT(to, "traceparent: ");
    to = lb_trace_write(to, trace);
    return PUT(to, "\r\n");
}

static char *put_caller(char *to, const struct lb_caller *caller)
{
    to = put(to, caller->header, caller->header_length);
    to = PUT(to, ": ");
    to = put(to, caller->name, caller->name_length);
    return PUT(to, "\r\n");
}

static char *put_via(char *to, int http2, uint8_t minor)
{
    to = PUT(to, "Via: ");
    to = put(to, lb_forward_via(http2, minor), LB_VIA_BYTES);
    return PUT(to, "\r\n");
}

/* origin-form, also of an absolute target (RFC 9112 3.2.1, 3.2.2). */
static char *put_target(char *to, const struct lb_message *message, const char *bytes, const struct lb_edited *edited)
{
    if (edited && edited->path) {
        to = put(to, edited->path, edited->path_length);
        return put_span(to, bytes, message->query);
    }
    if (!message->absolute)
        return put_span(to, bytes, message->head.target);
    if (!message->path.length)
        *to++ = message->method == LB_OPTIONS && !message->query.length ? '*' : '/';
    to = put_span(to, bytes, message->path);
    return put_span(to, bytes, message->query);
}

static char *put_request_line(char *to, const struct lb_message *message, const char *bytes, const struct lb_forward *forward)
{
    to = put_span(to, bytes, message->head.method);
    *to++ = ' ';
    to = put_target(to, message, bytes, forward->edited);
    to = PUT(to, " HTTP/1.1\r\n");
    if (!message->absolute && message->authority.length)
        return to; /* its Host is among the fields */
    if (forward->edited && forward->edited->request.own & LB_OWN_HOST)
        return to; /* likewise */
    to = PUT(to, "Host: ");
    if (message->authority.length)
        to = put_span(to, bytes, message->authority);
    else /* HTTP/1.0 may do without (RFC 9112 3.2); we may not */
        to = put(to, forward->backend, strlen(forward->backend));
    return PUT(to, "\r\n");
}

/* What is asked of the next forward (RFC 9110 7.8, 10.1.4, RFC 9112 9.6): each is named in Connection, too. */
static char *put_forward_headers(char *to, const struct lb_message *message, const char *bytes, const struct lb_forward *forward)
{
    int trailers = forward->trailers && message->takes_trailers;
    if (message->upgrade) {
        to = trailers ? PUT(to, "Connection: Upgrade, TE\r\nUpgrade: ") : PUT(to, "Connection: Upgrade\r\nUpgrade: ");
        to = put_span(to, bytes, message->upgrade_to);
        to = PUT(to, "\r\n");
    } else if (trailers) {
        to = forward->last ? PUT(to, "Connection: close, TE\r\n") : PUT(to, "Connection: TE\r\n");
    } else if (forward->last) {
        to = PUT(to, "Connection: close\r\n");
    }
    return trailers ? PUT(to, "TE: trailers\r\n") : to;
}

size_t lb_encode_request(char *out, const struct lb_message *message, const char *bytes, const struct lb_forward *forward)
{
    const struct lb_listener_row *listener = forward->listener;
    const struct lb_edited_head *edited = forward->edited ? &forward->edited->request : NULL;
    char *to = put_request_line(out, message, bytes, forward);
    to = put_fields(to, message, bytes, leave_in_request, forward, edited);
    if (message->framing == LB_BODY_CHUNKED)
        to = PUT(to, "Transfer-Encoding: chunked\r\n");
    to = put_forward_headers(to, message, bytes, forward);
    if (listener->forwarded & LB_FORWARDED_X)
        to = put_x_forwarded(to, message, bytes, forward);
    if (listener->forwarded & LB_FORWARDED_RFC7239 && !lb_edited_takes(edited, LB_OWN_FORWARDED))
        to = put_rfc7239(to, message, bytes, forward);
    if (forward->certificate && !lb_edited_takes(edited, LB_OWN_CLIENT_CERT))
        to = put_certificate(to, forward->certificate);
    if (listener->request_id && !stays(message, forward, LB_X_REQUEST_ID, "x-request-id") &&
        !lb_edited_takes(edited, LB_OWN_X_REQUEST_ID))
        to = put_id(to, forward->id);
    if (forward->trace && !lb_edited_takes(edited, LB_OWN_TRACEPARENT))
        to = put_trace(to, forward->trace);
    if (forward->caller && forward->caller->header_length)
        to = put_caller(to, forward->caller);
    to = put_via(to, forward->http2, message->head.minor);
    if (edited)
        to = lb_edited_put(to, edited, forward->backend);
    to = PUT(to, "\r\n");
    return (size_t)(to - out);
}

/* --- responses -------------------------------------------------------------------------------------------------------- */

/* 426 needs its Upgrade (RFC 9110 15.5.22). A length where no body can follow (8.6) would be believed by somebody. */
static int leave_in_response(const struct lb_message *message, const char *bytes, const struct lb_field *field,
                             const void *context)
{
    const struct lb_response_edits *edits = context;
    uint16_t status = message->head.status;
    if (field->known == LB_UPGRADE)
        return !edits->switches && status != 426;
    if (field->known == LB_CONTENT_LENGTH)
        return status < 200 || status == 204 || message->length_anew;
    if (field->known == LB_TRAILER)
        return message->framing == LB_BODY_CHUNKED && !edits->chunked; /* unwrapped, it has none */
    return lb_message_is_hop_field(message, bytes, field);
}

static char *put_number(char *to, uint32_t number)
{
    char digits[10];
    int count = 0;
    do
        digits[count++] = (char)('0' + number % 10);
    while (number /= 10);
    while (count)
        *to++ = digits[--count];
    return to;
}

/* RFC 2068 19.7.1.1. Keep-Alive is this forward's, so Connection names it (RFC 9110 7.6.1). */
static char *put_keep_alive(char *to, uint32_t keeps_s)
{
    to = PUT(to, "Keep-Alive: timeout=");
    to = put_number(to, keeps_s);
    return PUT(to, "\r\n");
}

char *lb_encode_connection(char *to, const struct lb_response_edits *edits, uint16_t status)
{
    if (edits->switches)
        return PUT(to, "Connection: Upgrade\r\n");
    if (!edits->persistent)
        return PUT(to, "Connection: close\r\n");
    int says = edits->keeps_s || !edits->client_minor;
    if (status == 426)
        to = says ? PUT(to, "Connection: Upgrade, keep-alive\r\n") : PUT(to, "Connection: Upgrade\r\n");
    else if (says)
        to = PUT(to, "Connection: keep-alive\r\n");
    return edits->keeps_s ? put_keep_alive(to, edits->keeps_s) : to;
}

size_t lb_encode_response(char *out, const struct lb_message *message, const char *bytes, const struct lb_response_edits *edits)
{
    const struct lb_message_head *head = &message->head;
    char *to = PUT(out, "HTTP/1.1 ");
    *to++ = (char)('0' + head->status / 100);
    *to++ = (char)('0' + head->status / 10 % 10);
    *to++ = (char)('0' + head->status % 10);
    *to++ = ' ';
    to = put_span(to, bytes, head->reason);
    to = PUT(to, "\r\n");
    to = put_fields(to, message, bytes, leave_in_response, edits, edits->edited);
    if (head->status < 200 && head->status != 101) {
        to = PUT(to, "\r\n");
        return (size_t)(to - out);
    }
    if (edits->chunked)
        to = PUT(to, "Transfer-Encoding: chunked\r\n");
    if (message->length_anew && head->status != 204)
        to += sprintf(to, "Content-Length: %" PRIu64 "\r\n", message->length);
    if (!lb_message_has(message, LB_DATE)) { /* RFC 9110 6.6.1 */
        to = PUT(to, "Date: ");
        to = put(to, edits->date, strlen(edits->date));
        to = PUT(to, "\r\n");
    }
    if (edits->cookie) {
        to = PUT(to, "Set-Cookie: ");
        to = put(to, edits->cookie, strlen(edits->cookie));
        to = PUT(to, "\r\n");
    }
    to = lb_encode_connection(to, edits, head->status);
    if (!lb_edited_takes(edits->edited, LB_OWN_VIA))
        to = put_via(to, edits->http2, head->minor);
    if (edits->edited)
        to = lb_edited_put(to, edits->edited, edits->backend);
    to = PUT(to, "\r\n");
    return (size_t)(to - out);
}
