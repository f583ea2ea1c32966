#include "query.h"

#include <stddef.h>
#include <string.h>

#include "syntax.h"

/* The character at *at, which moves behind it. A broken escape stands for itself. */
static char character(const char *bytes, uint32_t length, uint32_t *at, unsigned reading)
{
    char c = bytes[(*at)++];
    if (c == '+')
        return reading & LB_QUERY_PLUS ? '+' : ' ';
    if (c != '%' || length - *at < 2)
        return c;
    int high = lb_hex(bytes[*at]), low = lb_hex(bytes[*at + 1]);
    if (high < 0 || low < 0)
        return c;
    *at += 2;
    return (char)(high << 4 | low);
}

/* Does this piece, decoded, say the text? */
static int says(const char *piece, uint32_t length, const char *text, uint32_t text_length, unsigned reading)
{
    uint32_t at = 0, matched = 0;
    while (at < length) {
        char c = character(piece, length, &at, reading);
        if (matched == text_length || text[matched++] != c)
            return 0;
    }
    return matched == text_length;
}

static int separates(char c, unsigned reading)
{
    return c == '&' || (c == ';' && reading & LB_QUERY_SEMICOLON);
}

int lb_query_says(const char *query, uint32_t length, const struct lb_parameter *wanted, unsigned reading, int *repeated)
{
    int found = 0, holds = 0;
    for (uint32_t at = length && query[0] == '?'; at < length;) {
        uint32_t end = at;
        while (end < length && !separates(query[end], reading))
            end++;
        const char *equals = memchr(query + at, '=', end - at);
        uint32_t name = equals ? (uint32_t)(equals - query) - at : end - at, value = at + name + (equals != NULL);
        if (end > at && says(query + at, name, wanted->name, wanted->name_length, reading)) {
            if (!wanted->value)
                return 1;
            *repeated |= found;
            if (!found || reading & LB_QUERY_LAST)
                holds = says(query + value, end - value, wanted->value, wanted->value_length, reading);
            found = 1;
        }
        at = end + 1;
    }
    return holds;
}

unsigned lb_query_readings(const char *query, uint32_t length)
{
    if (!length)
        return LB_QUERY_AS_FORMS;
    return (memchr(query, '+', length) ? LB_QUERY_PLUS : 0u) | (memchr(query, ';', length) ? LB_QUERY_SEMICOLON : 0u);
}
