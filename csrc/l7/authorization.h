/* What a client says of itself in Authorization (RFC 9110 11.6.2). */
#ifndef LB_AUTHORIZATION_H
#define LB_AUTHORIZATION_H

#include "span.h"

/* What follows this scheme, which is in lower case; length 0: nothing does, or it is another scheme. */
static inline struct lb_span lb_behind_scheme(const char *bytes, struct lb_span value, const char *scheme, uint32_t length)
{
    if (value.length <= length || bytes[value.at + length] != ' ' || !lb_same_letters(bytes + value.at, scheme, length))
        return (struct lb_span){value.at, 0};
    value.at += length;
    value.length -= length;
    while (value.length && bytes[value.at] == ' ') {
        value.at++;
        value.length--;
    }
    return value;
}

#endif
