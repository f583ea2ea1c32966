/* Responses that nobody but us has made. */
#include <stdio.h>
#include <string.h>

#include "../openai_error.h"
#include "encode.h"

static char *put(char *to, const void *bytes, size_t count)
{
    memcpy(to, bytes, count);
    return to + count;
}

#define PUT(to, literal) put(to, literal, sizeof(literal) - 1)

enum { NO_CONTENT = 204 };

/* Those of RFC 9110 15 that a response of ours may have, 418 (RFC 7168 2.3.3), 425 (RFC 8470 5.2), 428, 429, 431 and 511 (RFC 6585), 451
 * (RFC 7725 3). */
static const struct {
    uint16_t status;
    const char *words;
} known[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {418, "I'm a teapot"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {511, "Network Authentication Required"},
};

/* The words of a status code. */
static const char *status_words(uint16_t status)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (known[i].status == status)
            return known[i].words;
    return status < 400 ? "OK" : "Error";
}

/* The listener's body with {status} and {reason} filled in, or a line of our own. */
static size_t own_body(char *body, size_t room, const struct lb_local_response *response)
{
    if (response->openai && response->status >= 400)
        return lb_openai_error(body, room, response->status, (enum lb_error_code)response->code, response->why);
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

static const char *type_of(const struct lb_local_response *response)
{
    return response->openai && response->status >= 400 ? "application/json" : (const char *)response->listener->error_type;
}

/* The lines of a head, from the first to those that speak of its body. */
static char *put_first(char *to, const struct lb_local_response *response, uint16_t status, size_t length)
{
    to += sprintf(to, "HTTP/1.1 %u %s\r\nDate: %s\r\n", status, status_words(status), response->date);
    return status == NO_CONTENT ? to : to + sprintf(to, "Content-Length: %zu\r\n", length); /* RFC 9110 8.6 */
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
    const struct lb_route_answer *answer = &response->answer;
    size_t length = answer->type ? answer->body_length : own_body(body, sizeof body, response);
    const char *type = answer->type ? answer->type : type_of(response);
    char *to = put_first(out, response, response->status, length);
    if (response->status != NO_CONTENT)
        to += sprintf(to, "Content-Type: %s\r\n", *type ? type : "text/plain; charset=utf-8");
    if (answer->location)
        to += sprintf(to, "Location: %s\r\n", answer->location);
    if (response->challenges)
        to = put(to, response->challenges, strlen(response->challenges));
    if (response->retry_after_s)
        to += sprintf(to, "Retry-After: %u\r\n", response->retry_after_s);
    to = put_last(to, response, response->status);
    if (!response->head_only)
        to = put(to, answer->type ? answer->body : body, length);
    return (size_t)(to - out);
}
