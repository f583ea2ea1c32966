/* The characters of HTTP: which byte may stand where (RFC 9110 5.5, 5.6.2). */
#ifndef LB_SYNTAX_H
#define LB_SYNTAX_H

#include <stdint.h>

enum lb_char {
    LB_TCHAR = 1,       /* in a token: methods, field names */
    LB_VCHAR = 2,       /* in a field's value: visible, obs-text, SP, HTAB */
    LB_TARGET = 4,      /* in a request target: visible ASCII but '#' */
    LB_HOST = 8,        /* in a registered name or an IPv4 address (RFC 3986 3.2.2) */
    LB_UNRESERVED = 16, /* RFC 3986 2.3 */
};

extern const uint8_t lb_chars[256];

/* A word of eight such bytes. */
#define LB_EACH(byte) (UINT64_C(0x0101010101010101) * (byte))

static inline int lb_is(char c, enum lb_char kind)
{
    return (lb_chars[(uint8_t)c] & (uint8_t)kind) != 0;
}

static inline char lb_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static inline char lb_upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

/* Equal but for case? b is in lower case. */
int lb_same_letters(const char *a, const char *b, uint32_t length);

/* A character of a field's name as servers of CGI and WSGI read it: '_' and '-' are the same to them (RFC 3875 4.1.18). */
static inline char lb_folded(char c)
{
    return c == '_' ? '-' : lb_lower(c);
}

/* Equal but for case, and for '_' and '-'? text is folded. */
static inline int lb_same_name(const char *name, const char *text, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        if (lb_folded(name[i]) != text[i])
            return 0;
    return 1;
}

/* Copy so many bytes, letters in lower case. */
void lb_lower_letters(char *to, const char *from, uint32_t length);

/* The value of a hexadecimal digit, or -1. */
static inline int lb_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = lb_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#endif
