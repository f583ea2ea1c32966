#include "edits.h"

#include <string.h>

#include "belongs.h"
#include "composer.h"
#include "granted.h"
#include "path.h"

/* --- lines ------------------------------------------------------------------------------------------------------------ */

static void put_pieces(struct lb_composer *composer, uint32_t first, uint32_t count)
{
    const struct lb_routes *routes = composer->l7->routes;
    uint32_t line = composer->length, named = line;
    for (const struct lb_piece_row *piece = routes->pieces + first, *end = piece + count; piece < end; piece++) {
        switch (piece->kind) {
        case LB_PIECE_LINE:
            line = composer->length;
            lb_compose(composer, routes->text + piece->text, piece->text_length);
            named = composer->length;
            break;
        case LB_PIECE_TEXT:
        case LB_PIECE_VALUE:
            lb_compose(composer, routes->text + piece->text, piece->text_length);
            break;
        case LB_PIECE_END:
            if (composer->length == named)
                composer->length = line;
            else
                lb_compose(composer, "\r\n", 2);
            break;
        default:
            lb_compose_variable(composer, piece->kind);
        }
    }
}

static const struct lb_edit_run *run_of(const struct lb_composer *composer, int editor)
{
    return composer->editors[editor] ? &composer->editors[editor]->run[composer->kind] : NULL;
}

/* Is a conditional edit for this request? A Host is for requests that have one. */
static int is_meant(const struct lb_composer *composer, const struct lb_edit_row *edit)
{
    if (edit->flags & LB_EDIT_BY_TLS && !lb_http_client_spoke_tls(composer->l7, composer->exchange->client))
        return 0;
    return !(edit->own & LB_OWN_HOST) || composer->l7->message.host.length;
}

/* Does a later editor drop this name? Equal texts stand in one place. */
static int is_dropped_after(const struct lb_composer *composer, int editor, uint32_t name)
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

static void put_edits(struct lb_composer *composer, int editor, uint32_t first, uint32_t count)
{
    const struct lb_edit_row *edits = composer->l7->routes->edits + first;
    for (uint32_t i = 0; i < count; i++)
        if (edits[i].piece_count && is_meant(composer, &edits[i]) && !is_dropped_after(composer, editor, edits[i].name))
            put_pieces(composer, edits[i].piece, edits[i].piece_count);
}

/* The lines of an editor: all at once, where no later one drops any. */
static void put_lines(struct lb_composer *composer, int editor, const struct lb_edit_run *run, uint64_t dropped_after)
{
    uint32_t always = run->edit_count - run->conditional;
    if (run->adds & dropped_after)
        put_edits(composer, editor, run->edits, always);
    else
        put_pieces(composer, run->pieces, run->piece_count);
    put_edits(composer, editor, run->edits + always, run->conditional);
}

/* The names that an editor drops. */
static void put_names(struct lb_composer *composer, const struct lb_edit_run *run, struct lb_edited_head *head)
{
    const struct lb_routes *routes = composer->l7->routes;
    lb_compose(composer, routes->text + run->names, run->names_length);
    head->lengths |= run->lengths;
    head->own |= run->own;
    for (uint32_t i = run->edit_count - run->conditional; i < run->edit_count; i++) {
        const struct lb_edit_row *edit = &routes->edits[run->edits + i];
        char length = (char)edit->name_length;
        if (!(edit->flags & LB_EDIT_DROPS) || !is_meant(composer, edit))
            continue;
        lb_compose(composer, &length, 1);
        lb_compose(composer, routes->text + edit->name, edit->name_length);
        head->lengths |= UINT64_C(1) << (edit->name_length & 63);
        head->own |= edit->own;
    }
}

/* What a decision has granted: no client can bring it, whether it is there or not. */
static void put_granted_names(struct lb_composer *composer, struct lb_edited_head *head)
{
    const struct lb_granted *granted = lb_granted_of(composer->l7, composer->exchange);
    if (composer->kind != LB_EDITS_REQUESTS || !granted)
        return;
    const char *name = lb_granted_names(granted), *end = name + granted->names_length;
    lb_compose(composer, name, granted->names_length);
    for (; name < end; name += 1 + (uint8_t)*name)
        head->lengths |= UINT64_C(1) << ((uint8_t)*name & 63);
}

static void put_granted_lines(struct lb_composer *composer)
{
    const struct lb_granted *granted = lb_granted_of(composer->l7, composer->exchange);
    if (composer->kind == LB_EDITS_REQUESTS && granted)
        lb_compose(composer, lb_granted_lines(granted), granted->lines_length);
}

static void compose_head(struct lb_composer *composer, enum lb_edited_kind kind, struct lb_edited_head *head)
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
    put_granted_names(composer, head);
    head->names_end = head->lines = composer->text + composer->length;
    put_granted_lines(composer);
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
static void compose_path(struct lb_composer *composer, struct lb_edited *edited)
{
    const struct lb_routes *routes = composer->l7->routes;
    const struct lb_route_row *row = &routes->rows[composer->to->row - 1];
    const struct lb_message *message = &composer->l7->message;
    uint32_t length = message->path.length;
    const char *path = composer->bytes + message->path.at;
    if (message->method == LB_OPTIONS && !length)
        return; /* it asks about the server */
    if (!length || !lb_path_is_plain(path, length))
        path = lb_composer_path(composer, &length);
    if (length < row->strip_length || memcmp(path, routes->text + row->strip, row->strip_length) != 0)
        return;
    composer->most = LB_HEAD_BYTES - (uint32_t)sizeof *edited;
    edited->path = composer->text + composer->length;
    lb_compose(composer, routes->text + row->replacement, row->replacement_length);
    lb_compose(composer, path + row->strip_length, length - row->strip_length);
    edited->path_length = (uint32_t)(composer->text + composer->length - edited->path);
    if (!edited->path_length) {
        lb_compose(composer, "/", 1);
        edited->path_length = 1;
    }
    edited->prefix = composer->text + composer->length;
    edited->prefix_length = row->strip_length;
    lb_compose(composer, routes->text + row->strip, row->strip_length);
}

/* --- all of it -------------------------------------------------------------------------------------------------------- */

static const struct lb_editor_row *editor_at(const struct lb_routes *routes, uint32_t number)
{
    return number ? &routes->editors[number - 1] : NULL;
}

/* Is there anything to be done? */
static int find_editors(struct lb_composer *composer)
{
    const struct lb_routes *routes = composer->l7->routes;
    const struct lb_routed_to *to = composer->to;
    const struct lb_route_row *row = to && to->row ? &routes->rows[to->row - 1] : NULL;
    composer->editors[LB_EDITS_OF_LISTENER] = editor_at(routes, routes->editor_of[composer->exchange->client->listener]);
    if (to && to->pool < composer->l7->ctx->shm.head->max_pools)
        composer->editors[LB_EDITS_OF_POOL] = editor_at(routes, routes->editor_of[routes->listeners + to->pool]);
    if (row)
        composer->editors[LB_EDITS_OF_ROUTE] = editor_at(routes, row->editor);
    return composer->exchange->granted != LB_SLAB_NONE || composer->editors[LB_EDITS_OF_LISTENER] ||
           composer->editors[LB_EDITS_OF_POOL] || (row && (row->editor || row->rewrites));
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
static void keep(const struct lb_composer *composer, struct lb_exchange *exchange, struct lb_edited *edited)
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
    struct lb_composer composer;
    struct lb_edited edited;
    memset(&composer, 0, offsetof(struct lb_composer, groups));
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

int lb_edits_grant(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_composer composer;
    struct lb_edited edited;
    memset(&composer, 0, offsetof(struct lb_composer, groups));
    composer.l7 = l7;
    composer.exchange = exchange;
    composer.text = l7->out;
    memset(&edited, 0, sizeof edited);
    compose_head(&composer, LB_EDITS_REQUESTS, &edited.request);
    edited.response.names = edited.response.names_end = edited.response.lines = edited.response.lines_end = composer.text;
    if (composer.full)
        return -1;
    keep(&composer, exchange, &edited);
    return 0;
}

void lb_edits_drop(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->edited != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, exchange->edited);
    exchange->edited = LB_SLAB_NONE;
}
