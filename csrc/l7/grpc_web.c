#include "grpc_web.h"

#include <string.h>

#include "route.h"
#include "syntax.h"

#define GRPC "application/grpc"
#define WEB GRPC "-web"
#define TEXT WEB "-text"
#define BASE64 TEXT "-base64" /* the same: it is what text is by default */

static const char no_status[] = "grpc-status: 2\r\ngrpc-message: the backend sent no status\r\n";

enum { TRAILERS = 0x80 }; /* in the first byte of a message */

/* Does a media type begin with this one? */
static int is_type(const char *value, uint32_t length, const char *type, uint32_t type_length)
{
    if (length < type_length || !lb_same_word(value, type_length, type, type_length))
        return 0;
    char next = length > type_length ? value[type_length] : 0;
    return !next || next == '+' || next == ';' || next == ' ' || next == ',';
}

#define IS_TYPE(value, length, type) is_type(value, length, type, (uint32_t)sizeof(type) - 1)

static int is_text(const char *value, uint32_t length)
{
    return IS_TYPE(value, length, TEXT) || IS_TYPE(value, length, BASE64);
}

/* What a client wants: what its Accept names of the two; else what it speaks itself. */
static int wants_text(const struct lb_message *message, const char *bytes, int asked)
{
    const struct lb_field *field = lb_field_find(message, bytes, "accept", 6);
    uint32_t at = 0;
    for (;;) {
        struct lb_span type = field ? lb_list_next(bytes, field->value, &at) : (struct lb_span){0};
        if (!type.length)
            return asked;
        if (is_text(bytes + type.at, type.length))
            return 1;
        if (IS_TYPE(bytes + type.at, type.length, WEB))
            return 0;
    }
}

uint8_t lb_grpc_web_of(const struct lb_message *message, const char *bytes)
{
    const struct lb_field *field = message->method == LB_POST ? lb_field_find(message, bytes, "content-type", 12) : NULL;
    if (!field)
        return 0;
    const char *type = bytes + field->value.at;
    int asked = is_text(type, field->value.length);
    if (!asked && !IS_TYPE(type, field->value.length, WEB))
        return 0;
    int told = wants_text(message, bytes, asked);
    return (uint8_t)(LB_WEB_CALL | (asked ? LB_WEB_TEXT_ASKED : 0) | (told ? LB_WEB_TEXT_TOLD : 0));
}

/* "+proto" of a media type, without parameters; its length. */
static uint32_t suffix_of(const char *type, uint32_t length, const char **suffix)
{
    const char *plus = memchr(type, '+', length);
    uint32_t count = 0, most = plus ? length - (uint32_t)(plus - type) : 0;
    while (count < most && plus[count] != ';' && plus[count] != ' ' && plus[count] != ',')
        count++;
    *suffix = plus;
    return count;
}

uint32_t lb_grpc_web_ask(char *type, uint32_t length)
{
    const char *suffix;
    uint32_t count = suffix_of(type, length, &suffix), begins = (uint32_t)sizeof(GRPC) - 1;
    if (count)
        memmove(type + begins, suffix, count);
    return begins + count;
}

static char *put(char *to, const void *bytes, size_t count)
{
    memcpy(to, bytes, count);
    return to + count;
}

#define PUT(to, text) put(to, text, sizeof(text) - 1)

uint32_t lb_grpc_web_tell(char *line, const char *type, uint32_t length, unsigned web)
{
    const char *suffix = NULL;
    uint32_t count = length ? suffix_of(type, length, &suffix) : 0;
    char *to = PUT(line, "content-type: ");
    to = web & LB_WEB_TEXT_TOLD ? PUT(to, TEXT) : PUT(to, WEB);
    if (count && count <= LB_WEB_SUFFIX_BYTES)
        to = put(to, suffix, count);
    return (uint32_t)(PUT(to, "\r\n") - line);
}

uint32_t lb_grpc_web_trailers_bytes(uint32_t count)
{
    uint32_t own = (uint32_t)sizeof(no_status) - 1;
    return LB_WEB_FRAME_BYTES + (count > own ? count : own);
}

char *lb_grpc_web_trailers(char *to, const char *lines, uint32_t count)
{
    if (!lines) {
        lines = no_status;
        count = (uint32_t)sizeof(no_status) - 1;
    }
    *to++ = (char)TRAILERS;
    for (int shift = 24; shift >= 0; shift -= 8)
        *to++ = (char)(count >> shift);
    return put(to, lines, count);
}
