#include "unsent.h"

#include <string.h>

#include "../../table/policy.h"
#include "h1.h"
#include "../input.h"

enum { MOST_UNSENT = 16384 }; /* bytes of a body that are waited for */

/* A client that was told 417 has two ways on (RFC 9110 10.1.1): it repeats its request without the expectation, as curl does, or it
 * sends the body that it has announced. Both may come on the connection that it keeps. What comes is taken for a request only if it
 * has the same method and target: nobody who writes a body alone chooses what is asked for. Nor may such a one choose the fields of a
 * request: where a proxy speaks, the body is a stranger's, and the proxy's word is believed. There 417 ends the connection. */

int lb_http_may_repeat(const struct lb_exchange *exchange)
{
    const struct lb_http_client *client = exchange->client;
    return exchange->expects && !exchange->request.whole && !client->trusted && !client->proxy_info;
}

static uint64_t first_bytes(const char *bytes, uint32_t count)
{
    uint64_t word = 0;
    memcpy(&word, bytes, count < sizeof word ? count : sizeof word);
    return word;
}

void lb_h1_note_expectation(struct lb_h1 *h1, const struct lb_message *message, const char *bytes)
{
    struct lb_span method = message->head.method, target = message->head.target;
    h1->line = first_bytes(bytes + method.at, target.at + target.length - method.at);
    h1->line_hash = lb_policy_key(bytes + method.at, target.at + target.length - method.at);
}

/* Method and target of what looks like a request line: their length; 0: no line is whole yet. */
static uint32_t line_length(const char *bytes, uint32_t count)
{
    const char *end = memchr(bytes, '\r', count);
    uint32_t length = end ? (uint32_t)(end - bytes) : 0;
    while (length && bytes[length - 1] != ' ')
        length--;
    return length ? length - 1 : end ? 1 : 0;
}

/* Could it become that line? */
static int may_repeat(const struct lb_h1 *h1, const char *bytes, uint32_t count)
{
    return first_bytes(bytes, count) == first_bytes((const char *)&h1->line, count);
}

static enum lb_unsent throw_away(struct lb_h1 *h1, uint32_t count)
{
    if (h1->unsent_left > MOST_UNSENT)
        return LB_UNSENT_BODY;
    if (count < h1->unsent_left)
        return LB_UNSENT_OPEN;
    h1->in.start = h1->in.next = h1->in.start + h1->unsent_left;
    h1->in.seen = 0;
    return LB_UNSENT_SETTLED;
}

void lb_http_keep_unsent(struct lb_exchange *exchange)
{
    const struct lb_body *body = &exchange->request;
    int is_short = body->framing == LB_BODY_LENGTH && body->left <= MOST_UNSENT;
    exchange->withheld = lb_h1_of(exchange->client)->unsent = 1;
    lb_h1_of(exchange->client)->unsent_left = is_short ? (uint32_t)body->left : UINT32_MAX;
}

enum lb_unsent lb_h1_unsent(struct lb_l7 *l7, struct lb_h1 *h1)
{
    uint32_t count = h1->in.end - h1->in.start;
    if (!count)
        return LB_UNSENT_OPEN;
    const char *bytes = lb_input_at(l7, &h1->in) + h1->in.start;
    uint32_t length = line_length(bytes, count);
    int repeats = length && lb_policy_key(bytes, length) == h1->line_hash;
    enum lb_unsent found = repeats                                 ? LB_UNSENT_SETTLED
                         : !length && may_repeat(h1, bytes, count) ? LB_UNSENT_OPEN
                                                                   : throw_away(h1, count);
    if (found == LB_UNSENT_SETTLED)
        h1->unsent = 0;
    return found;
}
