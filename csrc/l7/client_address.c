#include "client_address.h"

#include <arpa/inet.h>
#include <string.h>

#include "../core/ip.h"
#include "../l4/trust.h"
#include "belongs.h"
#include "syntax.h"

enum { LONGEST = 48, MOST_HOPS = 64 }; /* characters of an address in print; addresses of one request that are looked at */

/* IPv4 or IPv6, with a port (then IPv6 is in brackets) or without: 1, or 0 for anything else. */
static int read_address(const char *text, uint32_t length, uint8_t ip[16])
{
    char plain[LONGEST];
    struct in_addr v4;
    const char *end = text + length, *stop = end;
    if (length && *text == '[') {
        text++;
        stop = memchr(text, ']', (size_t)(end - text));
        if (!stop || (stop + 1 != end && stop[1] != ':'))
            return 0;
    } else {
        const char *colon = memchr(text, ':', length);
        if (colon && !memchr(colon + 1, ':', (size_t)(end - colon - 1)))
            stop = colon; /* of IPv4: its port */
    }
    if (stop - text >= LONGEST)
        return 0;
    memcpy(plain, text, (size_t)(stop - text));
    plain[stop - text] = 0;
    if (inet_pton(AF_INET, plain, &v4) == 1) {
        lb_ip_from_v4(ip, &v4);
        return 1;
    }
    return inet_pton(AF_INET6, plain, ip) == 1;
}

/* A list of addresses, read from its end. */
struct hops {
    const struct lb_listener_row *listener;
    uint32_t left;
    uint8_t *ip;
};

enum hop { HOP_FOUND, HOP_TRUSTED, HOP_BAD };

static enum hop read_list(struct hops *hops, const char *list, uint32_t length)
{
    const char *end = list + length;
    for (;;) {
        const char *comma = memrchr(list, ',', (size_t)(end - list)), *from = comma ? comma + 1 : list, *to = end;
        while (from < to && (*from == ' ' || *from == '\t'))
            from++;
        while (from < to && (to[-1] == ' ' || to[-1] == '\t'))
            to--;
        if (!hops->left-- || !read_address(from, (uint32_t)(to - from), hops->ip))
            return HOP_BAD;
        if (!lb_listener_trusts_ip(hops->listener, hops->ip))
            return HOP_FOUND;
        if (!comma)
            return HOP_TRUSTED;
        end = comma;
    }
}

int lb_http_client_address(const struct lb_l7 *l7, const struct lb_exchange *exchange, const char *bytes, uint8_t ip[16])
{
    const struct lb_message *message = &l7->message;
    struct hops hops = {lb_http_listener(l7, exchange), MOST_HOPS, ip};
    memcpy(ip, exchange->client->ip, 16);
    if (!exchange->client->trusted)
        return 1;
    if (!lb_message_has(message, LB_X_FORWARDED_FOR)) /* Forwarded alone is not read: nobody is taken for the proxy itself */
        return !lb_message_has(message, LB_FORWARDED);
    for (uint32_t i = message->head.field_count; i-- > 0;) {
        const struct lb_field *field = &message->head.fields[i];
        if (field->known != LB_X_FORWARDED_FOR)
            continue;
        switch (read_list(&hops, bytes + field->value.at, field->value.length)) {
        case HOP_FOUND:
            return 1;
        case HOP_TRUSTED:
            break;
        case HOP_BAD:
            return 0;
        }
    }
    return 1; /* proxies all the way: the first of them asks */
}
