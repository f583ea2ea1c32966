#include "target.h"

#include "message.h"

static int is_port(const char *bytes, uint32_t length)
{
    uint32_t value = 0;
    if (length > 5)
        return 0;
    for (uint32_t i = 0; i < length; i++) {
        if (bytes[i] < '0' || bytes[i] > '9')
            return 0;
        value = value * 10 + (uint32_t)(bytes[i] - '0');
    }
    return value <= 65535;
}

/* "[" IPv6 "]": the bytes are looked at, the address is not read. */
static uint32_t bracketed(const char *bytes, uint32_t length)
{
    uint32_t at = 1;
    while (at < length && (lb_hex(bytes[at]) >= 0 || bytes[at] == ':' || bytes[at] == '.'))
        at++;
    return at > 3 && at < length && bytes[at] == ']' ? at + 1 : 0;
}

static uint32_t registered_name(const char *bytes, uint32_t length)
{
    uint32_t at = 0;
    while (at < length && lb_is(bytes[at], LB_HOST)) {
        if (bytes[at] == '%' && (at + 2 >= length || lb_hex(bytes[at + 1]) < 0 || lb_hex(bytes[at + 2]) < 0))
            return 0;
        at++;
    }
    return at;
}

int lb_target_authority(struct lb_message *message, const char *bytes, struct lb_span authority)
{
    const char *text = bytes + authority.at;
    uint32_t length = authority.length;
    uint32_t host = length && text[0] == '[' ? bracketed(text, length) : registered_name(text, length);
    if (!host || (host < length && (text[host] != ':' || !is_port(text + host + 1, length - host - 1))))
        return 0;
    message->authority = authority;
    message->host = (struct lb_span){authority.at, host};
    return 1;
}

static void split_path(struct lb_message *message, const char *bytes, struct lb_span rest)
{
    const char *mark = rest.length ? memchr(bytes + rest.at, '?', rest.length) : NULL;
    uint32_t path = mark ? (uint32_t)(mark - (bytes + rest.at)) : rest.length;
    message->path = (struct lb_span){rest.at, path};
    message->query = (struct lb_span){rest.at + path, rest.length - path};
}

/* "http://" or "https://": its length, or 0. */
static uint32_t scheme_of(const char *target, uint32_t length)
{
    if (length > 7 && lb_same_word(target, 7, "http://", 7))
        return 7;
    return length > 8 && lb_same_word(target, 8, "https://", 8) ? 8 : 0;
}

/* absolute-form (RFC 9112 3.2.2): its authority counts, whatever Host says. */
static enum lb_reading absolute_target(struct lb_message *message, const char *bytes)
{
    struct lb_span target = message->head.target, authority;
    const uint32_t skip = scheme_of(bytes + target.at, target.length);
    if (!skip)
        return LB_READ_BAD;
    message->https = skip == 8;
    uint32_t end = skip;
    while (end < target.length && bytes[target.at + end] != '/' && bytes[target.at + end] != '?')
        end++;
    authority = (struct lb_span){target.at + skip, end - skip};
    if (!lb_target_authority(message, bytes, authority))
        return LB_READ_BAD;
    message->absolute = 1;
    split_path(message, bytes, (struct lb_span){target.at + end, target.length - end});
    return LB_READ_DONE;
}

enum lb_reading lb_target_read(struct lb_message *message, const char *bytes)
{
    struct lb_span target = message->head.target;
    message->path = message->query = (struct lb_span){target.at, 0};
    if (message->method == LB_CONNECT)
        return LB_READ_UNKNOWN; /* tunnels are for forward proxies */
    if (bytes[target.at] == '/') {
        split_path(message, bytes, target);
        return LB_READ_DONE;
    }
    if (bytes[target.at] == '*' && target.length == 1)
        return message->method == LB_OPTIONS ? LB_READ_DONE : LB_READ_BAD;
    return absolute_target(message, bytes);
}
