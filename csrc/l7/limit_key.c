#include "limit_key.h"

#include <string.h>

#include "../core/ip.h"
#include "../table/keys.h"
#include "authorization.h"
#include "held_route.h"
#include "jwt_claim.h"
#include "path.h"
#include "route_index.h"

/* The bytes of a key; NULL: the request has none of that kind. */
struct value {
    const char *bytes;
    uint32_t length;
};

static struct value of_span(const char *bytes, struct lb_span span)
{
    return (struct value){bytes + span.at, span.length};
}

static struct value of_header(const struct lb_message *message, const char *bytes, const char *name, uint32_t length)
{
    const struct lb_field *field = lb_field_find(message, bytes, name, length);
    return field ? of_span(bytes, field->value) : (struct value){0};
}

static struct value of_cookie(const struct lb_message *message, const char *bytes, const char *name, uint32_t length)
{
    struct lb_span found = lb_cookie_find(message, bytes, name, length);
    return found.at == UINT32_MAX ? (struct value){0} : of_span(bytes, found);
}

/* In its normal form, so that escapes make no other key of it. */
static struct value of_path(struct lb_l7 *l7, const char *bytes)
{
    struct lb_span path = l7->message.path;
    int64_t length = lb_path_normal(bytes + path.at, path.length, LB_PATH_AS_WRITTEN, l7->routes->path);
    return length < 0 ? of_span(bytes, path) : (struct value){l7->routes->path, (uint32_t)length};
}

/* The token of "Authorization: Bearer TOKEN" (RFC 6750 2.1). */
static struct value of_bearer(const struct lb_message *message, const char *bytes)
{
    const struct lb_field *field = lb_field_find(message, bytes, "authorization", 13);
    struct lb_span token = field ? lb_behind_scheme(bytes, field->value, "bearer", 6) : (struct lb_span){0, 0};
    return token.length ? of_span(bytes, token) : (struct value){0};
}

/* Where clients of model servers put their key: OpenAI's, then Anthropic's, then Azure's. */
static struct value of_api_key(const struct lb_message *message, const char *bytes)
{
    struct value found = of_bearer(message, bytes);
    if (!found.bytes)
        found = of_header(message, bytes, "x-api-key", 9);
    return found.bytes ? found : of_header(message, bytes, "api-key", 7);
}

/* Not verified: see jwt_claim.h. word: where the claim is put. */
static struct value of_claim(const struct lb_message *message, const char *bytes, const char *name, uint32_t length,
                             struct lb_json_word *word)
{
    struct value token = of_bearer(message, bytes);
    if (!token.bytes || lb_jwt_claim(token.bytes, token.length, name, length, word) < 0)
        return (struct value){0};
    return (struct value){word->bytes, word->length};
}

/* A client of IPv6 is its first 64 bits, as table/clients.h has it. */
static uint64_t hash_of_source(const struct lb_l7 *l7, const struct lb_exchange *exchange, uint64_t limit)
{
    const uint8_t *ip = exchange->client->ip;
    return lb_key_hash(&l7->ctx->shm, limit, LB_LIMIT_SOURCE, ip, lb_ip_customer_bytes(ip));
}

uint64_t lb_http_limit_key(struct lb_l7 *l7, const struct lb_exchange *exchange, const char *bytes,
                           const struct lb_route_row *route)
{
    const struct lb_message *message = &l7->message;
    const char *name = lb_routes_text(l7->routes, exchange->era) + route->limit_name;
    struct value found = {0};
    struct lb_json_word word;
    switch ((enum lb_limit_key)route->limit_key) {
    case LB_LIMIT_SOURCE:
        break;
    case LB_LIMIT_ROUTE:
        found = (struct value){"", 0};
        break;
    case LB_LIMIT_PATH:
        found = of_path(l7, bytes);
        break;
    case LB_LIMIT_HEADER:
        found = of_header(message, bytes, name, route->limit_name_length);
        break;
    case LB_LIMIT_COOKIE:
        found = of_cookie(message, bytes, name, route->limit_name_length);
        break;
    case LB_LIMIT_API_KEY:
        found = of_api_key(message, bytes);
        break;
    case LB_LIMIT_JWT:
        found = of_claim(message, bytes, name, route->limit_name_length, &word);
        break;
    }
    if (!found.bytes)
        return hash_of_source(l7, exchange, route->limit);
    return lb_key_hash(&l7->ctx->shm, route->limit, route->limit_key, found.bytes, found.length);
}
