/* How far a string goes on without anything to look at. */
#ifndef LB_JSON_PLAIN_H
#define LB_JSON_PLAIN_H

#include <stdint.h>
#include <string.h>

static inline int lb_json_is_plain(char c)
{
    return (signed char)c >= 0x20 && c != '"' && c != '\\';
}

/* The first byte that is a quote, a backslash, a control character or not ASCII; else end. Sixteen bytes at a time: prompts are long. */
static inline const char *lb_json_plain_end(const char *at, const char *end)
{
    typedef int8_t bytes16 __attribute__((vector_size(16)));
    typedef uint64_t words2 __attribute__((vector_size(16)));
    for (; end - at >= 16; at += 16) {
        bytes16 found;
        memcpy(&found, at, 16);
        words2 stops = (words2)((found == '"') | (found == '\\') | (found < 0x20));
        if (stops[0] | stops[1])
            break;
    }
    while (at < end && lb_json_is_plain(*at))
        at++;
    return at;
}

#endif
