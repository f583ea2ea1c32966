#include "server_read.h"

#include <string.h>

#include "../suspect.h"
#include "doubt.h"
#include "request.h"

static enum lb_h2_error spend(const struct lb_l7 *l7, struct lb_h2_server *server)
{
    return lb_h2_budget_spend(&server->link.budget, lb_now_ms(l7->ctx)) < 0 ? LB_H2_ENHANCE_YOUR_CALM : LB_H2_NO_ERROR;
}

/* Have we not used this number yet (RFC 9113 5.1: idle)? Those of servers are never used, since nothing may be pushed. */
static int is_idle(const struct lb_h2_server *server, uint32_t id)
{
    return id > server->link.last_out || id % 2 == 0;
}

/* A fault of one call: RST_STREAM, and its exchange is told. */
static enum lb_h2_error call_fault(struct lb_l7 *l7, struct lb_h2_server *server, uint32_t id, enum lb_h2_error error)
{
    struct lb_h2_call *call = lb_h2_call_find(server, id);
    if (call && !call->bad) {
        call->bad = 1;
        lb_h2_link_reset(l7->ctx, &server->link, id, error);
        lb_h2_count_reset(l7->ctx->row, LB_RESETS_OF_BACKEND, error);
        lb_h2_server_touch(l7, server);
        lb_h2_call_ready(l7, call);
    }
    return spend(l7, server);
}

/* --- header blocks ---------------------------------------------------------------------------------------------------------- */

static enum lb_h2_server_block kind_of(const struct lb_h2_call *call)
{
    if (!call || call->bad || call->ended)
        return LB_H2_SERVER_IGNORED;
    return call->answered ? LB_H2_SERVER_TRAILERS : LB_H2_SERVER_HEAD;
}

static enum lb_h2_error begin_block(struct lb_h2_server *server, const struct lb_h2_event *event)
{
    if (is_idle(server, event->stream))
        return LB_H2_PROTOCOL_ERROR;
    server->kind = (uint8_t)kind_of(lb_h2_call_find(server, event->stream));
    server->block = (struct lb_h2_response){.end = server->kind == LB_H2_SERVER_HEAD ? LB_H2_RESPONSE_PREFIX : 0};
    lb_h2_block_begin(&server->link.block, &server->link.fields_in, event->stream, event->end_stream);
    return LB_H2_NO_ERROR;
}

static void take_trailer(struct lb_h2_response *block, const char *base, const struct lb_hpack_field *field)
{
    if (!lb_h2_is_trailer(field))
        block->malformed = 1;
    else
        block->end = (uint32_t)(field->value + field->value_length + 2 - base);
}

static uint32_t take_field(void *context, char *base, const struct lb_hpack_field *field)
{
    struct lb_h2_server *server = context;
    switch ((enum lb_h2_server_block)server->kind) {
    case LB_H2_SERVER_HEAD:
        lb_h2_response_field(&server->block, base, field);
        break;
    case LB_H2_SERVER_TRAILERS:
        take_trailer(&server->block, base, field);
        break;
    case LB_H2_SERVER_IGNORED:
        break;
    }
    return server->block.end;
}

static enum lb_h2_error read_block(struct lb_l7 *l7, struct lb_h2_server *server, const struct lb_h2_event *event)
{
    struct lb_h2_link *link = &server->link;
    return lb_h2_block_read(l7, &link->block, &link->fields_in, event->bytes, event->count, server->block.end, take_field,
                            server);
}

/* Interim responses that nobody has looked at yet make room for what follows them. */
static int take_head(struct lb_l7 *l7, struct lb_h2_server *server, struct lb_h2_call *call)
{
    struct lb_h2_block *block = &server->link.block;
    int interim = server->block.status < 200;
    if (server->block.malformed || !server->block.status || server->block.status == 101 || (interim && block->end_stream))
        return -1;
    if (block->too_large || server->block.end + 2 > lb_heads_room(block->lines)) {
        call->bad = 2;
        return -1;
    }
    if (call->head != LB_SLAB_NONE)
        lb_heads_give(l7->ctx, &l7->heads, call->head);
    call->head = block->lines;
    call->says = server->block;
    block->lines = LB_SLAB_NONE;
    call->answered = !interim;
    call->ended = block->end_stream != 0;
    return 0;
}

/* Trailers end their stream (RFC 9113 8.1). What is too long for trailers is left out. */
static int take_trailers(struct lb_h2_server *server, struct lb_h2_call *call)
{
    struct lb_h2_block *block = &server->link.block;
    if (server->block.malformed || !block->end_stream)
        return -1;
    call->ended = 1;
    if (block->too_large || !server->block.end || server->block.end > LB_TRAILER_BYTES)
        return 0;
    call->trailers = block->lines;
    call->trailers_count = server->block.end;
    block->lines = LB_SLAB_NONE;
    return 0;
}

static enum lb_h2_error end_block(struct lb_l7 *l7, struct lb_h2_server *server)
{
    struct lb_h2_block *block = &server->link.block;
    enum lb_h2_error error = lb_h2_block_end(block);
    struct lb_h2_call *call = lb_h2_call_find(server, block->stream);
    uint32_t id = block->stream;
    int taken = 0;
    if (error == LB_H2_NO_ERROR && call && server->kind == LB_H2_SERVER_HEAD)
        taken = take_head(l7, server, call);
    if (error == LB_H2_NO_ERROR && call && server->kind == LB_H2_SERVER_TRAILERS)
        taken = take_trailers(server, call);
    lb_h2_block_drop(l7, block);
    if (taken < 0) {
        int too_large = call->bad == 2;
        call->bad = 0;
        error = call_fault(l7, server, id, too_large ? LB_H2_CANCEL : LB_H2_PROTOCOL_ERROR);
        call->bad = too_large ? 2 : 1;
    } else if (call) {
        lb_h2_call_ready(l7, call);
    }
    return error;
}

/* --- DATA ------------------------------------------------------------------------------------------------------------------- */

static int hold(struct lb_l7 *l7, struct lb_h2_call *call, const struct lb_h2_event *event)
{
    char *at = lb_sendq_room(l7->ctx, &call->in, event->count);
    if (!at)
        return -1;
    memcpy(at, event->bytes, event->count);
    call->in.pending += event->count;
    return 0;
}

static enum lb_h2_error read_data(struct lb_l7 *l7, struct lb_h2_server *server, const struct lb_h2_event *event)
{
    enum lb_h2_error error = lb_h2_link_charge(l7->ctx, &server->link, event->charge);
    struct lb_h2_call *call = lb_h2_call_find(server, event->stream);
    if (error != LB_H2_NO_ERROR)
        return error;
    if (!call)
        return is_idle(server, event->stream) ? LB_H2_PROTOCOL_ERROR : LB_H2_NO_ERROR;
    if (call->bad)
        return LB_H2_NO_ERROR;
    if (!call->answered)
        return call_fault(l7, server, event->stream, LB_H2_PROTOCOL_ERROR);
    if (call->ended)
        return call_fault(l7, server, event->stream, LB_H2_STREAM_CLOSED);
    if (lb_h2_credit_spend(&call->credit, event->charge) < 0)
        return call_fault(l7, server, event->stream, LB_H2_FLOW_CONTROL_ERROR);
    call->credit.owed += event->charge - event->count; /* padding is done with at once */
    if (event->count && hold(l7, call, event) < 0)
        return call_fault(l7, server, event->stream, LB_H2_INTERNAL_ERROR);
    lb_h2_call_ready(l7, call);
    return LB_H2_NO_ERROR;
}

static enum lb_h2_error end_data(struct lb_l7 *l7, struct lb_h2_server *server, uint32_t id)
{
    struct lb_h2_call *call = lb_h2_call_find(server, id);
    if (!call)
        return is_idle(server, id) ? LB_H2_PROTOCOL_ERROR : LB_H2_NO_ERROR;
    if (call->bad)
        return LB_H2_NO_ERROR;
    if (!call->answered)
        return call_fault(l7, server, id, LB_H2_PROTOCOL_ERROR);
    call->ended = 1;
    lb_h2_call_ready(l7, call);
    return LB_H2_NO_ERROR;
}

/* --- all others --------------------------------------------------------------------------------------------------------------- */

/* Behind a whole response it says only that the rest of the request is not wanted (RFC 9113 8.1). */
static enum lb_h2_error reset(struct lb_l7 *l7, struct lb_h2_server *server, const struct lb_h2_event *event)
{
    struct lb_h2_call *call = lb_h2_call_find(server, event->stream);
    if (is_idle(server, event->stream))
        return LB_H2_PROTOCOL_ERROR;
    if (call) {
        call->reset = 1;
        lb_h2_count_reset(l7->ctx->row, LB_RESETS_BY_BACKEND, event->value);
        call->error = (uint8_t)(event->value <= LB_H2_HTTP_1_1_REQUIRED ? event->value : LB_H2_INTERNAL_ERROR);
        lb_h2_call_ready(l7, call);
    }
    return spend(l7, server);
}

static enum lb_h2_error window(struct lb_l7 *l7, struct lb_h2_server *server, const struct lb_h2_event *event)
{
    struct lb_h2_call *call = lb_h2_call_find(server, event->stream);
    if (!event->stream) {
        int was_empty = server->link.window.left <= 0;
        enum lb_h2_error error = lb_h2_link_hear(l7->ctx, &server->link, event);
        if (was_empty)
            lb_h2_calls_ready(l7, server);
        return error;
    }
    if (is_idle(server, event->stream))
        return LB_H2_PROTOCOL_ERROR;
    if (call && lb_h2_window_add(&call->window, event->value) < 0)
        return call_fault(l7, server, event->stream, LB_H2_FLOW_CONTROL_ERROR);
    if (call)
        lb_h2_call_ready(l7, call);
    return spend(l7, server);
}

/* A new initial window is one of open streams, too, and may make theirs negative (RFC 9113 6.9.2). */
static enum lb_h2_error setting(struct lb_l7 *l7, struct lb_h2_server *server, const struct lb_h2_event *event)
{
    uint32_t before = server->link.peer.window;
    enum lb_h2_error error = lb_h2_link_hear(l7->ctx, &server->link, event);
    uint32_t now = server->link.peer.window;
    for (struct lb_h2_call *call = server->oldest; call && now != before; call = call->newer) {
        if (!call->id)
            continue;
        if (lb_h2_window_shift(&call->window, before, now) < 0)
            return LB_H2_FLOW_CONTROL_ERROR;
        lb_h2_call_ready(l7, call);
    }
    return error;
}

/* Nothing new goes there from now on, and what it has not looked at goes elsewhere. */
static enum lb_h2_error going_away(struct lb_l7 *l7, struct lb_h2_server *server, const struct lb_h2_event *event)
{
    if (!server->warned) {
        lb_suspect(l7->ctx, server->backend);
        lb_add(&l7->ctx->row->goaways, 1);
    }
    server->going = server->warned = 1;
    for (struct lb_h2_call *call = server->oldest; call; call = call->newer)
        if (call->id > event->number && !call->answered) {
            call->refused = 1;
            lb_h2_call_ready(l7, call);
        }
    lb_h2_doubts_ready(l7, server);
    return lb_h2_link_hear(l7->ctx, &server->link, event);
}

static enum lb_h2_error hear(struct lb_l7 *l7, struct lb_h2_server *server, const struct lb_h2_event *event)
{
    switch (event->kind) {
    case LB_H2_SETTING:
        return setting(l7, server, event);
    case LB_H2_BLOCK_BEGINS:
        return begin_block(server, event);
    case LB_H2_BLOCK:
        return read_block(l7, server, event);
    case LB_H2_BLOCK_ENDS:
        return end_block(l7, server);
    case LB_H2_BODY:
        return read_data(l7, server, event);
    case LB_H2_BODY_ENDS:
        return end_data(l7, server, event->stream);
    case LB_H2_RESET:
        return reset(l7, server, event);
    case LB_H2_WINDOW:
        return window(l7, server, event);
    case LB_H2_GOING_AWAY:
        return going_away(l7, server, event);
    case LB_H2_STREAM_FAULT:
        return is_idle(server, event->stream) ? LB_H2_PROTOCOL_ERROR
                                              : call_fault(l7, server, event->stream, (enum lb_h2_error)event->value);
    case LB_H2_SETTINGS_END:
        if (!server->link.settled)
            server->blind = server->link.last_out;
        return lb_h2_link_hear(l7->ctx, &server->link, event);
    case LB_H2_PONGED:
    case LB_H2_SETTINGS_ACK:
    case LB_H2_PINGED:
    case LB_H2_CHEAP:
    case LB_H2_FAULT:
        return lb_h2_link_hear(l7->ctx, &server->link, event);
    case LB_H2_MORE:
        break;
    }
    return LB_H2_NO_ERROR;
}

enum lb_h2_error lb_h2_server_read(struct lb_l7 *l7, struct lb_h2_server *server, const uint8_t *bytes, uint32_t count)
{
    for (;;) {
        uint32_t used;
        struct lb_h2_event event = lb_h2_frame_read(&server->link.reader, bytes, count, &used);
        bytes += used;
        count -= used;
        if (event.kind == LB_H2_MORE)
            return LB_H2_NO_ERROR;
        enum lb_h2_error error = hear(l7, server, &event);
        if (error != LB_H2_NO_ERROR)
            return error;
    }
}
