/* Responses that nobody but us has made. */
#include <stdio.h>
#include <string.h>

#include "encode.h"

static char *put(char *to, const void *bytes, size_t count)
{
    memcpy(to, bytes, count);
    return to + count;
}

#define PUT(to, literal) put(to, literal, sizeof(literal) - 1)

/* The words of a status code. */
static const char *status_words(uint16_t status)
{
    switch (status) {
    case 200:
        return "OK";
    case 301:
        return "Moved Permanently";
    case 302:
        return "Found";
    case 303:
        return "See Other";
    case 307:
        return "Temporary Redirect";
    case 308:
        return "Permanent Redirect"; /* RFC 9110 15.4.9 */
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden";
    case 404:
        return "Not Found";
    case 408:
        return "Request Timeout";
    case 413:
        return "Content Too Large";
    case 414:
        return "URI Too Long";
    case 417:
        return "Expectation Failed";
    case 429:
        return "Too Many Requests"; /* RFC 6585 4 */
    case 431:
        return "Request Header Fields Too Large";
    case 501:
        return "Not Implemented";
    case 502:
        return "Bad Gateway";
    case 503:
        return "Service Unavailable";
    case 504:
        return "Gateway Timeout";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Error";
    }
}

/* The listener's body with {status} and {reason} filled in, or a line of our own. */
static size_t own_body(char *body, size_t room, const struct lb_local_response *response)
{
    const char *form = (const char *)response->listener->error_body;
    size_t length = 0;
    if (!*form || response->status < 400) {
        int count = snprintf(body, room, "%u %s: %s\n", response->status, status_words(response->status), response->why);
        return count > 0 ? (size_t)count : 0;
    }
    while (*form && length < room - 64) {
        if (strncmp(form, "{status}", 8) == 0) {
            length += (size_t)snprintf(body + length, room - length, "%u", response->status);
            form += 8;
        } else if (strncmp(form, "{reason}", 8) == 0) {
            length += (size_t)snprintf(body + length, room - length, "%.60s", response->why);
            form += 8;
        } else {
            body[length++] = *form++;
        }
    }
    return length;
}

/* The lines of a head, from the first to those that speak of its body. */
static char *put_first(char *to, const struct lb_local_response *response, uint16_t status, size_t length)
{
    return to + sprintf(to, "HTTP/1.1 %u %s\r\nDate: %s\r\nContent-Length: %zu\r\n", status, status_words(status), response->date,
                        length);
}

static char *put_last(char *to, const struct lb_local_response *response, uint16_t status)
{
    struct lb_response_edits edits = {
        .client_minor = response->client_minor,
        .persistent = response->persistent,
        .keeps_s = response->listener->keepalive_timeout_ms / 1000,
    };
    return PUT(lb_encode_connection(to, &edits, status), "\r\n");
}

/* What a call came to is said in the head, and by 200 (gRPC-Web: trailers-only). */
static size_t encode_call(char *out, const struct lb_local_response *response)
{
    char *to = put_first(out, response, 200, 0);
    to = put(to, response->lines, strlen(response->lines));
    return (size_t)(put_last(to, response, 200) - out);
}

size_t lb_encode_local(char *out, const struct lb_local_response *response)
{
    char body[4096];
    if (response->lines)
        return encode_call(out, response);
    size_t length = own_body(body, sizeof body, response);
    const char *type = (const char *)response->listener->error_type;
    char *to = put_first(out, response, response->status, length);
    to += sprintf(to, "Content-Type: %s\r\n", *type ? type : "text/plain; charset=utf-8");
    if (response->location)
        to += sprintf(to, "Location: %s\r\n", response->location);
    if (response->retry_after_s)
        to += sprintf(to, "Retry-After: %u\r\n", response->retry_after_s);
    to = put_last(to, response, response->status);
    if (!response->head_only)
        to = put(to, body, length);
    return (size_t)(to - out);
}
