/* How far a string goes on without anything to look at. */
#ifndef LB_JSON_PLAIN_H
#define LB_JSON_PLAIN_H

#include <stdint.h>
#include <string.h>

static inline int lb_json_is_plain(char c)
{
    return (signed char)c >= 0x20 && c != '"' && c != '\\';
}

typedef int8_t lb_json_bytes __attribute__((vector_size(16)));

static inline lb_json_bytes lb_json_stops(const char *at)
{
    lb_json_bytes found;
    memcpy(&found, at, sizeof found);
    return (found == '"') | (found == '\\') | (found < 0x20);
}

static inline int lb_json_any(lb_json_bytes stops)
{
    typedef uint64_t words2 __attribute__((vector_size(16)));
    words2 words = (words2)stops;
    return (words[0] | words[1]) != 0;
}

/* The first byte that is a quote, a backslash, a control character or not ASCII; else end. Sixteen bytes at a time, and then 32: prompts
 * are long. */
static inline const char *lb_json_plain_end(const char *at, const char *end)
{
    if (end - at >= 16 && !lb_json_any(lb_json_stops(at)))
        for (at += 16; end - at >= 32 && !lb_json_any(lb_json_stops(at) | lb_json_stops(at + 16));)
            at += 32;
    while (end - at >= 16 && !lb_json_any(lb_json_stops(at)))
        at += 16;
    while (at < end && lb_json_is_plain(*at))
        at++;
    return at;
}

#endif
