#include "composer.h"

#include <string.h>

#include "../core/random.h"
#include "../tls/connection.h"
#include "belongs.h"
#include "edited.h"
#include "forward.h"
#include "path.h"

void lb_compose(struct lb_composer *composer, const char *bytes, size_t count)
{
    if (count > composer->most - composer->length) {
        composer->full = 1;
        return;
    }
    memcpy(composer->text + composer->length, bytes, count);
    composer->length += (uint32_t)count;
}

static void put_text(struct lb_composer *composer, const char *text)
{
    lb_compose(composer, text, strlen(text));
}

/* --- variables -------------------------------------------------------------------------------------------------------- */

static void put_port(struct lb_composer *composer)
{
    char digits[5];
    uint32_t port = composer->exchange->client->port, at = sizeof digits;
    if (!port)
        return; /* it came by a unix socket */
    do
        digits[--at] = (char)('0' + port % 10);
    while (port /= 10);
    lb_compose(composer, digits + at, sizeof digits - at);
}

static void put_client(struct lb_composer *composer)
{
    char address[LB_FORWARD_ADDRESS];
    if (lb_forward_has_address(composer->exchange->client->ip))
        lb_compose(composer, address, (size_t)(lb_forward_write_address(address, composer->exchange->client->ip) - address));
}

/* The id that it goes on with: what it came with, or one that is drawn now (transfer.c). */
static void put_id(struct lb_composer *composer)
{
    struct lb_l7 *l7 = composer->l7;
    const struct lb_forward forward = {.listener = lb_http_listener(l7, composer->exchange),
                                       .trusted = composer->exchange->client->trusted};
    const struct lb_field *given = NULL;
    char id[LB_ID_BYTES];
    if (composer->bytes && (!forward.listener->request_id || lb_forward_believes(&forward, "x-request-id", 12)))
        given = lb_field_find(&l7->message, composer->bytes, "x-request-id", 12);
    if (given) {
        lb_compose(composer, composer->bytes + given->value.at, given->value.length);
    } else if (forward.listener->request_id) {
        for (int i = 0; i < 2 && !composer->id[1]; i++)
            composer->id[i] = lb_random_next(&l7->random);
        lb_compose(composer, id, (size_t)(lb_forward_write_id(id, composer->id) - id));
    }
}

/* The name that its ClientHello asked for, which nobody has read yet. */
static void put_name(struct lb_composer *composer, const char *name, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!lb_is(name[i], LB_HOST))
            return;
    lb_compose(composer, name, length);
}

static void put_tls(struct lb_composer *composer, enum lb_piece piece)
{
    const struct lb_http_client *client = composer->exchange->client;
    const struct lb_proxy_info *told = lb_proxy_info_at(&composer->l7->ctx->proxy_info, client->proxy_info);
    const struct lb_tls *tls = client->side.tls;
    if (!tls) {
        if (piece == LB_PIECE_TLS_SNI && told && told->tls)
            put_name(composer, told->text, told->authority_length);
        return;
    }
    const char *name = piece == LB_PIECE_TLS_VERSION ? lb_ssl.SSL_get_version(tls->ssl)
                     : piece == LB_PIECE_TLS_CIPHER  ? lb_ssl.SSL_CIPHER_get_name(lb_ssl.SSL_get_current_cipher(tls->ssl))
                                                     : lb_ssl.SSL_get_servername(tls->ssl, 0);
    if (name)
        put_name(composer, name, strlen(name));
}

/* The path in its normal form, as routes compare it. */
const char *lb_composer_path(struct lb_composer *composer, uint32_t *length)
{
    char *path = composer->l7->routes->path;
    struct lb_span came = composer->l7->message.path;
    int64_t count = lb_path_normal(composer->bytes + came.at, came.length, LB_PATH_AS_WRITTEN, path);
    *length = count > 0 ? (uint32_t)count : 1;
    return count > 0 ? path : "/";
}

static void put_group(struct lb_composer *composer, uint32_t group)
{
    const struct lb_routes *routes = composer->l7->routes;
    uint32_t route = composer->to->row - 1, length;
    const char *path = lb_composer_path(composer, &length);
    if (group >= LB_GROUPS || !routes->compiled[route])
        return;
    if (!composer->matched)
        composer->matched = regexec(&routes->expressions[route], path, LB_GROUPS, composer->groups, 0) == 0 ? 1 : -1;
    const regmatch_t *found = &composer->groups[group];
    if (composer->matched > 0 && found->rm_so >= 0)
        lb_compose(composer, path + found->rm_so, (size_t)(found->rm_eo - found->rm_so));
}

static void put_backend(struct lb_composer *composer)
{
    static const char mark = LB_EDITED_BACKEND;
    if (composer->most - composer->length < LB_ADDRESS) {
        composer->full = 1;
        return;
    }
    composer->most -= LB_ADDRESS;
    composer->backends++;
    lb_compose(composer, &mark, 1);
}

static void put_span(struct lb_composer *composer, struct lb_span span)
{
    lb_compose(composer, composer->bytes + span.at, span.length);
}

/* What of a request stands as it came has no control character: head.c has seen to that. */
static void put_of_request(struct lb_composer *composer, uint32_t kind)
{
    const struct lb_message *message = &composer->l7->message;
    if (!composer->bytes)
        return;
    if (kind == LB_PIECE_METHOD)
        put_span(composer, message->head.method);
    else if (kind == LB_PIECE_HOST)
        put_span(composer, message->host);
    else if (kind == LB_PIECE_QUERY)
        put_span(composer, message->query);
    else if (kind == LB_PIECE_PATH && message->path.length)
        put_span(composer, message->path);
    else if (kind == LB_PIECE_PATH)
        lb_compose(composer, "/", 1);
    else if (composer->to->row)
        put_group(composer, kind - LB_PIECE_CAPTURE);
}

void lb_compose_variable(struct lb_composer *composer, uint32_t kind)
{
    struct lb_l7 *l7 = composer->l7;
    const struct lb_shm *shm = &l7->ctx->shm;
    switch (kind) {
    case LB_PIECE_CLIENT:
        put_client(composer);
        break;
    case LB_PIECE_CLIENT_PORT:
        put_port(composer);
        break;
    case LB_PIECE_REQUEST_ID:
        put_id(composer);
        break;
    case LB_PIECE_SCHEME:
        put_text(composer, lb_http_client_spoke_tls(l7, composer->exchange->client) ? "https" : "http");
        break;
    case LB_PIECE_LISTENER:
        put_text(composer, (const char *)lb_http_listener(l7, composer->exchange)->name);
        break;
    case LB_PIECE_POOL:
        if (composer->to && composer->to->pool < shm->head->max_pools)
            put_text(composer, (const char *)shm->pools[composer->to->pool].name);
        break;
    case LB_PIECE_BACKEND:
        put_backend(composer);
        break;
    case LB_PIECE_TLS_VERSION:
    case LB_PIECE_TLS_CIPHER:
    case LB_PIECE_TLS_SNI:
        put_tls(composer, (enum lb_piece)kind);
        break;
    default:
        put_of_request(composer, kind);
    }
}
