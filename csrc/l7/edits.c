#include "edits.h"

#include <string.h>

#include "../core/random.h"
#include "../tls/connection.h"
#include "belongs.h"
#include "forward.h"
#include "path.h"

enum { GROUPS = 10 }; /* of an expression: all of it, and nine */

/* What is composed for one exchange. */
struct composer {
    struct lb_l7 *l7;
    const struct lb_exchange *exchange;
    const char *bytes; /* of its request; NULL: it has none */
    const struct lb_routed_to *to;
    const struct lb_editor_row *editors[LB_EDITORS]; /* NULL: none */
    uint64_t id[2];                                  /* drawn for it; 0: not yet */
    char *text;                                      /* what is composed, */
    uint32_t length;                                 /* so far, */
    uint32_t most;                                   /* and at most */
    uint32_t backends;                               /* times that the backend's address stands in this head */
    int full;
    enum lb_edited_kind kind; /* of this head */
    int matched;              /* the groups are known: */
    regmatch_t groups[GROUPS];
};

static void put(struct composer *composer, const char *bytes, size_t count)
{
    if (count > composer->most - composer->length) {
        composer->full = 1;
        return;
    }
    memcpy(composer->text + composer->length, bytes, count);
    composer->length += (uint32_t)count;
}

static void put_text(struct composer *composer, const char *text)
{
    put(composer, text, strlen(text));
}

/* --- variables -------------------------------------------------------------------------------------------------------- */

static void put_port(struct composer *composer)
{
    char digits[5];
    uint32_t port = composer->exchange->client->port, at = sizeof digits;
    if (!port)
        return; /* it came by a unix socket */
    do
        digits[--at] = (char)('0' + port % 10);
    while (port /= 10);
    put(composer, digits + at, sizeof digits - at);
}

static void put_client(struct composer *composer)
{
    char address[LB_FORWARD_ADDRESS];
    if (lb_forward_has_address(composer->exchange->client->ip))
        put(composer, address, (size_t)(lb_forward_write_address(address, composer->exchange->client->ip) - address));
}

/* The id that it goes on with: what it came with, or one that is drawn now (transfer.c). */
static void put_id(struct composer *composer)
{
    struct lb_l7 *l7 = composer->l7;
    const struct lb_forward forward = {.listener = lb_http_listener(l7, composer->exchange),
                                       .trusted = composer->exchange->client->trusted};
    const struct lb_field *given = NULL;
    char id[LB_ID_BYTES];
    if (composer->bytes && (!forward.listener->request_id || lb_forward_believes(&forward, "x-request-id", 12)))
        given = lb_field_find(&l7->message, composer->bytes, "x-request-id", 12);
    if (given) {
        put(composer, composer->bytes + given->value.at, given->value.length);
    } else if (forward.listener->request_id) {
        for (int i = 0; i < 2 && !composer->id[1]; i++)
            composer->id[i] = lb_random_next(&l7->random);
        put(composer, id, (size_t)(lb_forward_write_id(id, composer->id) - id));
    }
}

/* The name that its ClientHello asked for, which nobody has read yet. */
static void put_name(struct composer *composer, const char *name, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (!lb_is(name[i], LB_HOST))
            return;
    put(composer, name, length);
}

static void put_tls(struct composer *composer, enum lb_piece piece)
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
static const char *normal_path(struct composer *composer, uint32_t *length)
{
    char *path = composer->l7->routes->path;
    struct lb_span came = composer->l7->message.path;
    int64_t count = lb_path_normal(composer->bytes + came.at, came.length, LB_PATH_AS_WRITTEN, path);
    *length = count > 0 ? (uint32_t)count : 1;
    return count > 0 ? path : "/";
}

static void put_group(struct composer *composer, uint32_t group)
{
    const struct lb_routes *routes = composer->l7->routes;
    uint32_t route = composer->to->row - 1, length;
    const char *path = normal_path(composer, &length);
    if (group >= GROUPS || !routes->compiled[route])
        return;
    if (!composer->matched)
        composer->matched = regexec(&routes->expressions[route], path, GROUPS, composer->groups, 0) == 0 ? 1 : -1;
    const regmatch_t *found = &composer->groups[group];
    if (composer->matched > 0 && found->rm_so >= 0)
        put(composer, path + found->rm_so, (size_t)(found->rm_eo - found->rm_so));
}

static void put_backend(struct composer *composer)
{
    static const char mark = LB_EDITED_BACKEND;
    if (composer->most - composer->length < LB_ADDRESS) {
        composer->full = 1;
        return;
    }
    composer->most -= LB_ADDRESS;
    composer->backends++;
    put(composer, &mark, 1);
}

static void put_span(struct composer *composer, struct lb_span span)
{
    put(composer, composer->bytes + span.at, span.length);
}

/* What of a request stands as it came has no control character: head.c has seen to that. */
static void put_of_request(struct composer *composer, uint32_t kind)
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
        put(composer, "/", 1);
    else if (composer->to->row)
        put_group(composer, kind - LB_PIECE_CAPTURE);
}

static void put_variable(struct composer *composer, uint32_t kind)
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

/* --- lines ------------------------------------------------------------------------------------------------------------ */

static void put_pieces(struct composer *composer, uint32_t first, uint32_t count)
{
    const struct lb_routes *routes = composer->l7->routes;
    uint32_t line = composer->length, named = line;
    for (const struct lb_piece_row *piece = routes->pieces + first, *end = piece + count; piece < end; piece++) {
        switch (piece->kind) {
        case LB_PIECE_LINE:
            line = composer->length;
            put(composer, routes->text + piece->text, piece->text_length);
            named = composer->length;
            break;
        case LB_PIECE_TEXT:
        case LB_PIECE_VALUE:
            put(composer, routes->text + piece->text, piece->text_length);
            break;
        case LB_PIECE_END:
            if (composer->length == named)
                composer->length = line;
            else
                put(composer, "\r\n", 2);
            break;
        default:
            put_variable(composer, piece->kind);
        }
    }
}

static const struct lb_edit_run *run_of(const struct composer *composer, int editor)
{
    return composer->editors[editor] ? &composer->editors[editor]->run[composer->kind] : NULL;
}

/* Is a conditional edit for this request? A Host is for requests that have one. */
static int is_meant(const struct composer *composer, const struct lb_edit_row *edit)
{
    if (edit->flags & LB_EDIT_BY_TLS && !lb_http_client_spoke_tls(composer->l7, composer->exchange->client))
        return 0;
    return !(edit->own & LB_OWN_HOST) || composer->l7->message.host.length;
}

/* Does a later editor drop this name? Equal texts stand in one place. */
static int is_dropped_after(const struct composer *composer, int editor, uint32_t name)
{
    while (++editor < LB_EDITORS) {
        const struct lb_edit_run *run = run_of(composer, editor);
        const struct lb_edit_row *edits = run ? composer->l7->routes->edits + run->edits : NULL;
        for (uint32_t i = 0; run && i < run->edit_count; i++)
            if (edits[i].name == name && edits[i].flags & LB_EDIT_DROPS && is_meant(composer, &edits[i]))
                return 1;
    }
    return 0;
}

static void put_edits(struct composer *composer, int editor, uint32_t first, uint32_t count)
{
    const struct lb_edit_row *edits = composer->l7->routes->edits + first;
    for (uint32_t i = 0; i < count; i++)
        if (edits[i].piece_count && is_meant(composer, &edits[i]) && !is_dropped_after(composer, editor, edits[i].name))
            put_pieces(composer, edits[i].piece, edits[i].piece_count);
}

/* The lines of an editor: all at once, where no later one drops any. */
static void put_lines(struct composer *composer, int editor, const struct lb_edit_run *run, uint64_t dropped_after)
{
    uint32_t always = run->edit_count - run->conditional;
    if (run->adds & dropped_after)
        put_edits(composer, editor, run->edits, always);
    else
        put_pieces(composer, run->pieces, run->piece_count);
    put_edits(composer, editor, run->edits + always, run->conditional);
}

/* The names that an editor drops. */
static void put_names(struct composer *composer, const struct lb_edit_run *run, struct lb_edited_head *head)
{
    const struct lb_routes *routes = composer->l7->routes;
    put(composer, routes->text + run->names, run->names_length);
    head->lengths |= run->lengths;
    head->own |= run->own;
    for (uint32_t i = run->edit_count - run->conditional; i < run->edit_count; i++) {
        const struct lb_edit_row *edit = &routes->edits[run->edits + i];
        char length = (char)edit->name_length;
        if (!(edit->flags & LB_EDIT_DROPS) || !is_meant(composer, edit))
            continue;
        put(composer, &length, 1);
        put(composer, routes->text + edit->name, edit->name_length);
        head->lengths |= UINT64_C(1) << (edit->name_length & 63);
        head->own |= edit->own;
    }
}

static void compose_head(struct composer *composer, enum lb_edited_kind kind, struct lb_edited_head *head)
{
    uint64_t dropped_after[LB_EDITORS + 1] = {0};
    composer->kind = kind;
    composer->most = composer->length + LB_EDITS_BYTES;
    composer->backends = 0;
    head->names = composer->text + composer->length;
    for (int editor = LB_EDITORS; editor-- > 0;) {
        const struct lb_edit_run *run = run_of(composer, editor);
        dropped_after[editor] = dropped_after[editor + 1];
        if (!run || !run->edit_count)
            continue;
        put_names(composer, run, head);
        dropped_after[editor] |= run->drops;
    }
    head->names_end = head->lines = composer->text + composer->length;
    for (int editor = 0; editor < LB_EDITORS; editor++) {
        const struct lb_edit_run *run = run_of(composer, editor);
        if (run && run->edit_count)
            put_lines(composer, editor, run, dropped_after[editor + 1]);
    }
    head->lines_end = composer->text + composer->length;
    head->backends = composer->backends;
}

/* --- the path --------------------------------------------------------------------------------------------------------- */

/* What is stripped was compared by segments: what is left begins with a slash, or is nothing. */
static void compose_path(struct composer *composer, struct lb_edited *edited)
{
    const struct lb_routes *routes = composer->l7->routes;
    const struct lb_route_row *row = &routes->rows[composer->to->row - 1];
    const struct lb_message *message = &composer->l7->message;
    uint32_t length = message->path.length;
    const char *path = composer->bytes + message->path.at;
    if (message->method == LB_OPTIONS && !length)
        return; /* it asks about the server */
    if (!length || !lb_path_is_plain(path, length))
        path = normal_path(composer, &length);
    if (length < row->strip_length || memcmp(path, routes->text + row->strip, row->strip_length) != 0)
        return;
    composer->most = LB_HEAD_BYTES - (uint32_t)sizeof *edited;
    edited->path = composer->text + composer->length;
    put(composer, routes->text + row->replacement, row->replacement_length);
    put(composer, path + row->strip_length, length - row->strip_length);
    edited->path_length = (uint32_t)(composer->text + composer->length - edited->path);
    if (!edited->path_length) {
        put(composer, "/", 1);
        edited->path_length = 1;
    }
    edited->prefix = composer->text + composer->length;
    edited->prefix_length = row->strip_length;
    put(composer, routes->text + row->strip, row->strip_length);
}

/* --- all of it -------------------------------------------------------------------------------------------------------- */

static const struct lb_editor_row *editor_at(const struct lb_routes *routes, uint32_t number)
{
    return number ? &routes->editors[number - 1] : NULL;
}

/* Is there anything to be done? */
static int find_editors(struct composer *composer)
{
    const struct lb_routes *routes = composer->l7->routes;
    const struct lb_routed_to *to = composer->to;
    const struct lb_route_row *row = to && to->row ? &routes->rows[to->row - 1] : NULL;
    composer->editors[LB_EDITS_OF_LISTENER] = editor_at(routes, routes->editor_of[composer->exchange->client->listener]);
    if (to && to->pool < composer->l7->ctx->shm.head->max_pools)
        composer->editors[LB_EDITS_OF_POOL] = editor_at(routes, routes->editor_of[routes->listeners + to->pool]);
    if (row)
        composer->editors[LB_EDITS_OF_ROUTE] = editor_at(routes, row->editor);
    return composer->editors[LB_EDITS_OF_LISTENER] || composer->editors[LB_EDITS_OF_POOL] ||
           (row && (row->editor || row->rewrites));
}

static const char *moved(const char *at, const char *from, const char *to)
{
    return to + (at - from);
}

static void move_head(struct lb_edited_head *head, const char *from, const char *to)
{
    head->names = moved(head->names, from, to);
    head->names_end = moved(head->names_end, from, to);
    head->lines = moved(head->lines, from, to);
    head->lines_end = moved(head->lines_end, from, to);
}

/* What was composed goes to a buffer of its size. */
static void keep(const struct composer *composer, struct lb_exchange *exchange, struct lb_edited *edited)
{
    struct lb_l7 *l7 = composer->l7;
    exchange->edited = lb_heads_take_small(&l7->heads, (uint32_t)sizeof *edited + composer->length);
    struct lb_edited *kept = (struct lb_edited *)(void *)lb_heads_at(l7->ctx, &l7->heads, exchange->edited);
    char *text = (char *)(kept + 1);
    memcpy(text, composer->text, composer->length);
    move_head(&edited->request, composer->text, text);
    move_head(&edited->response, composer->text, text);
    if (edited->path) {
        edited->path = moved(edited->path, composer->text, text);
        edited->prefix = moved(edited->prefix, composer->text, text);
    }
    *kept = *edited;
}

int lb_edits_make(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes, const struct lb_routed_to *to)
{
    struct composer composer;
    struct lb_edited edited;
    memset(&composer, 0, offsetof(struct composer, groups));
    composer.l7 = l7;
    composer.exchange = exchange;
    composer.bytes = bytes;
    composer.to = to;
    composer.text = l7->out;
    if (!find_editors(&composer))
        return 0;
    memset(&edited, 0, sizeof edited);
    edited.request.names = edited.request.names_end = edited.request.lines = edited.request.lines_end = composer.text;
    if (bytes)
        compose_head(&composer, LB_EDITS_REQUESTS, &edited.request);
    compose_head(&composer, LB_EDITS_RESPONSES, &edited.response);
    if (to && to->row && l7->routes->rows[to->row - 1].rewrites)
        compose_path(&composer, &edited);
    if (composer.full)
        return -1;
    memcpy(edited.id, composer.id, sizeof edited.id);
    keep(&composer, exchange, &edited);
    return 0;
}

void lb_edits_drop(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->edited != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, exchange->edited);
    exchange->edited = LB_SLAB_NONE;
}
