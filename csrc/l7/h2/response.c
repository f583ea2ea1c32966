#include "response.h"

#include <string.h>

#include "../grpc_web.h"
#include "../syntax.h"
#include "request.h"

/* Three digits from 100 on (RFC 9110 15). */
static uint16_t status_of(const struct lb_hpack_field *field)
{
    uint16_t status = 0;
    if (field->value_length != 3)
        return 0;
    for (int i = 0; i < 3; i++) {
        if (field->value[i] < '0' || field->value[i] > '9')
            return 0;
        status = (uint16_t)(status * 10 + (field->value[i] - '0'));
    }
    return status >= 100 ? status : 0;
}

/* Once, before all other fields; there is no other one (RFC 9113 8.3.2). */
static void take_pseudo(struct lb_h2_response *response, const struct lb_hpack_field *field)
{
    int is_status = field->name_length == 7 && memcmp(field->name, ":status", 7) == 0;
    if (!is_status || response->status || response->regular)
        response->malformed = 1;
    response->status = is_status ? status_of(field) : 0;
    response->malformed |= (uint8_t)!response->status;
}

void lb_h2_response_field(struct lb_h2_response *response, char *base, const struct lb_hpack_field *field)
{
    if (field->name_length && field->name[0] == ':') {
        take_pseudo(response, field);
        return;
    }
    response->regular = 1;
    if (!lb_h2_is_regular(field)) {
        response->malformed = 1;
        return;
    }
    response->has_length |= (uint8_t)(field->name_length == 14 && memcmp(field->name, "content-length", 14) == 0);
    response->end = (uint32_t)(field->value + field->value_length + 2 - base);
}

/* --- gRPC-Web --------------------------------------------------------------------------------------------------------------- */

/* The line of this name, from `base` on; *next: the one behind it. NULL: there is none. */
static char *find_line(char *base, const struct lb_h2_response *response, const char *name, size_t length, char **next)
{
    char *end = base + response->end;
    for (char *line = base + LB_H2_RESPONSE_PREFIX; line < end; line = *next) {
        *next = (char *)memchr(line, '\n', (size_t)(end - line)) + 1;
        if ((size_t)(*next - line) >= length + 4 && line[length] == ':' && memcmp(line, name, length) == 0)
            return line;
    }
    return NULL;
}

static void drop_line(char *base, struct lb_h2_response *response, char *line, const char *next)
{
    memmove(line, next, (size_t)(base + response->end - next));
    response->end -= (uint32_t)(next - line);
}

int lb_h2_response_translate(char *base, struct lb_h2_response *response, uint32_t room, unsigned web)
{
    enum { BEFORE = 14, AROUND = 16 }; /* "content-type: ", and that with the line's end */
    char told[LB_WEB_TYPE_BYTES], *next, *line = find_line(base, response, "content-type", 12, &next);
    uint32_t length = line ? (uint32_t)(next - line) - AROUND : 0;
    if (length < 16 || !lb_same_word(line + BEFORE, 16, "application/grpc", 16))
        return 0;
    if (response->end + LB_WEB_TYPE_BYTES + 2 > room)
        return -1;
    uint32_t count = lb_grpc_web_tell(told, line + BEFORE, length, web);
    drop_line(base, response, line, next);
    memcpy(base + response->end, told, count);
    response->end += count;
    while (response->has_length && (line = find_line(base, response, "content-length", 14, &next)) != NULL)
        drop_line(base, response, line, next);
    response->has_length = 0;
    return 1;
}

/* --- the head --------------------------------------------------------------------------------------------------------------- */

static char *put(char *to, const char *text, size_t count)
{
    memcpy(to, text, count);
    return to + count;
}

#define PUT(to, text) put(to, text, sizeof(text) - 1)

char *lb_h2_response_compose(char *base, const struct lb_h2_response *response, enum lb_h2_response_body body, uint32_t *count)
{
    char first[LB_H2_RESPONSE_PREFIX], *to = PUT(first, "HTTP/1.1 ");
    *to++ = (char)('0' + response->status / 100);
    *to++ = (char)('0' + response->status / 10 % 10);
    *to++ = (char)('0' + response->status % 10);
    to = PUT(to, " \r\n");
    if (body == LB_H2_RESPONSE_EMPTY)
        to = PUT(to, "content-length: 0\r\n");
    if (body == LB_H2_RESPONSE_CHUNKED)
        to = PUT(to, "transfer-encoding: chunked\r\n");
    size_t before = (size_t)(to - first);
    char *begin = base + LB_H2_RESPONSE_PREFIX - before;
    memcpy(begin, first, before);
    memcpy(base + response->end, "\r\n", 2);
    *count = (uint32_t)(base + response->end + 2 - begin);
    return begin;
}
