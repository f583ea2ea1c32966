#include "grpc.h"

#include <stdio.h>
#include <string.h>

#include "grpc_web.h"
#include "route.h"
#include "syntax.h"

enum { TIMEOUT_DIGITS = 8 };

int lb_grpc_is_call(const struct lb_message *message, const char *bytes)
{
    const struct lb_field *field = message->method == LB_POST ? lb_field_find(message, bytes, "content-type", 12) : NULL;
    if (!field || field->value.length < 16 || !lb_same_word(bytes + field->value.at, 16, "application/grpc", 16))
        return 0;
    char next = field->value.length > 16 ? bytes[field->value.at + 16] : 0;
    return !next || next == '+' || next == ';' || next == ' ';
}

enum lb_grpc_status lb_grpc_status_for(uint16_t status)
{
    switch (status) {
    case 401:
        return LB_GRPC_UNAUTHENTICATED;
    case 403:
        return LB_GRPC_PERMISSION_DENIED;
    case 404:
        return LB_GRPC_UNIMPLEMENTED;
    case 413:
    case 429:
    case 431:
        return LB_GRPC_RESOURCE_EXHAUSTED;
    case 408:
    case 502:
    case 503:
    case 504:
        return LB_GRPC_UNAVAILABLE;
    case 400:
    case 414:
        return LB_GRPC_INTERNAL;
    default:
        return LB_GRPC_UNKNOWN;
    }
}

static uint8_t code_of(const char *text, uint32_t length)
{
    unsigned code = 0;
    for (uint32_t i = 0; i < length; i++) {
        if (text[i] < '0' || text[i] > '9' || i == 2)
            return LB_GRPC_UNKNOWN;
        code = code * 10 + (unsigned)(text[i] - '0');
    }
    return length && code <= LB_GRPC_MOST ? (uint8_t)code : LB_GRPC_UNKNOWN;
}

uint8_t lb_grpc_status_in_head(const struct lb_message *message, const char *bytes)
{
    const struct lb_field *field = lb_field_find(message, bytes, "grpc-status", 11);
    return field ? code_of(bytes + field->value.at, field->value.length) : LB_GRPC_NONE;
}

uint8_t lb_grpc_status_in_lines(const char *lines, uint32_t count)
{
    const char *end = lines + count;
    while (end - lines > 13) {
        const char *stop = memchr(lines, '\r', (size_t)(end - lines));
        if (!stop)
            break;
        if (stop - lines > 13 && memcmp(lines, "grpc-status: ", 13) == 0)
            return code_of(lines + 13, (uint32_t)(stop - lines - 13));
        lines = stop + 2;
    }
    return LB_GRPC_NONE;
}

uint32_t lb_grpc_lines(char *out, enum lb_grpc_status status, const char *why, unsigned web)
{
    static const char type[] = "content-type: application/grpc\r\n";
    uint32_t count = (uint32_t)sizeof(type) - 1;
    if (web)
        count = lb_grpc_web_tell(out, NULL, 0, web);
    else
        memcpy(out, type, count);
    return count + (uint32_t)snprintf(out + count, LB_GRPC_LINES - count, "grpc-status: %d\r\ngrpc-message: %.200s\r\n",
                                      (int)status, why ? why : "");
}

/* Of each unit, nanoseconds; 0: it is none. */
static uint64_t unit_ns(char unit)
{
    switch (unit) {
    case 'H':
        return UINT64_C(3600000000000);
    case 'M':
        return UINT64_C(60000000000);
    case 'S':
        return UINT64_C(1000000000);
    case 'm':
        return UINT64_C(1000000);
    case 'u':
        return UINT64_C(1000);
    case 'n':
        return 1;
    default:
        return 0;
    }
}

uint32_t lb_grpc_timeout_ms(const struct lb_message *message, const char *bytes)
{
    enum { MOST_MS = 2000000000 }; /* 23 days: what a clock of 32 bits tells apart */
    const struct lb_field *field = lb_field_find(message, bytes, "grpc-timeout", 12);
    if (!field || field->value.length < 2 || field->value.length > TIMEOUT_DIGITS + 1)
        return 0;
    const char *text = bytes + field->value.at;
    uint32_t digits = field->value.length - 1;
    uint64_t number = 0;
    for (uint32_t i = 0; i < digits; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        number = number * 10 + (uint64_t)(text[i] - '0');
    }
    uint64_t unit = unit_ns(text[digits]);
    if (!unit)
        return 0;
    uint64_t ms = unit >= 1000000 ? number * (unit / 1000000) : number * unit / 1000000;
    return ms > MOST_MS ? MOST_MS : ms ? (uint32_t)ms : 1;
}
