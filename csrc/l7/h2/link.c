#include "link.h"

#include <string.h>

#include "../../core/io.h"
#include "../l7.h"

void lb_h2_link_open(struct lb_h2_link *link, struct lb_hpack_memory *memory, uint64_t now_ms, int is_server)
{
    memset(link, 0, sizeof *link);
    lb_h2_frame_reader_open(&link->reader, is_server);
    lb_hpack_reader_open(&link->fields_in, memory);
    lb_hpack_writer_open(&link->fields_out, memory);
    lb_h2_settings_open(&link->peer);
    lb_h2_budget_open(&link->budget, now_ms);
    lb_h2_credit_open(&link->credit, LB_H2_DEFAULT_WINDOW);
    lb_h2_block_open(&link->block);
    link->window.left = LB_H2_DEFAULT_WINDOW;
    link->last_said = link->last_heard = UINT32_MAX;
    link->by_server = (uint8_t)!is_server;
}

void lb_h2_link_close(struct lb_l7 *l7, struct lb_h2_link *link)
{
    lb_sendq_drop(l7->ctx, &link->out);
    lb_h2_block_drop(l7, &link->block);
    lb_hpack_reader_close(&link->fields_in);
    lb_hpack_writer_close(&link->fields_out);
}

int lb_h2_link_flush(struct lb_worker_context *ctx, struct lb_h2_link *link, struct lb_side *side)
{
    return lb_sendq_flush(ctx, &link->out, side);
}

/* --- what is said ------------------------------------------------------------------------------------------------------- */

static uint8_t *room(struct lb_worker_context *ctx, struct lb_h2_link *link, uint32_t bytes)
{
    uint8_t *at = link->failed ? NULL : (uint8_t *)lb_sendq_room(ctx, &link->out, bytes);
    link->failed |= (uint8_t)!at;
    return at;
}

static void wrote(struct lb_h2_link *link, const uint8_t *begin, const uint8_t *end)
{
    link->out.pending += (uint32_t)(end - begin);
}

void lb_h2_link_settings(struct lb_worker_context *ctx, struct lb_h2_link *link, const struct lb_h2_setting_pair *pairs,
                         uint32_t count)
{
    uint32_t more = LB_H2_CONNECTION_WINDOW - link->credit.whole;
    uint8_t *at = room(ctx, link, LB_H2_FRAME_HEAD + count * LB_H2_SETTING_BYTES + LB_H2_WINDOW_BYTES);
    if (!at)
        return;
    wrote(link, at, lb_h2_write_window(lb_h2_write_settings(at, pairs, count), 0, more));
    lb_h2_credit_open(&link->credit, LB_H2_CONNECTION_WINDOW);
}

void lb_h2_link_ping(struct lb_worker_context *ctx, struct lb_h2_link *link)
{
    static const uint8_t payload[8] = "lbcore";
    uint8_t *at = room(ctx, link, LB_H2_PING_BYTES);
    if (at)
        wrote(link, at, lb_h2_write_ping(at, payload, 0));
    link->pings++;
}

void lb_h2_link_goaway(struct lb_worker_context *ctx, struct lb_h2_link *link, uint32_t last, enum lb_h2_error error)
{
    uint8_t *at = room(ctx, link, LB_H2_GOAWAY_BYTES);
    if (at)
        wrote(link, at, lb_h2_write_goaway(at, last, error));
    link->last_said = last;
}

void lb_h2_link_reset(struct lb_worker_context *ctx, struct lb_h2_link *link, uint32_t stream, enum lb_h2_error error)
{
    uint8_t *at = room(ctx, link, LB_H2_RESET_BYTES);
    if (at)
        wrote(link, at, lb_h2_write_reset(at, stream, error));
}

void lb_h2_link_window(struct lb_worker_context *ctx, struct lb_h2_link *link, uint32_t stream, uint32_t bytes)
{
    uint8_t *at = room(ctx, link, LB_H2_WINDOW_BYTES);
    if (at)
        wrote(link, at, lb_h2_write_window(at, stream, bytes));
}

/* Frames of a block are never larger than the smallest maximum: any peer takes those. */
uint8_t *lb_h2_link_block(struct lb_worker_context *ctx, struct lb_h2_link *link, uint32_t most)
{
    uint8_t *at = (uint8_t *)lb_sendq_room(ctx, &link->out, lb_h2_block_bytes(most + LB_HPACK_WRITE_ROOM, LB_H2_FRAME_BYTES));
    link->block_out = at;
    return at ? lb_hpack_write_begin(&link->fields_out, at + LB_H2_FRAME_HEAD) : NULL;
}

void lb_h2_link_block_done(struct lb_h2_link *link, const uint8_t *end, uint32_t stream, int end_stream)
{
    uint8_t *begin = link->block_out;
    uint32_t bytes = (uint32_t)(end - begin) - LB_H2_FRAME_HEAD;
    wrote(link, begin, lb_h2_frame_block(begin, bytes, stream, end_stream, LB_H2_FRAME_BYTES));
}

/* One frame: how many bytes it took. */
static uint32_t put_data(struct lb_worker_context *ctx, struct lb_h2_link *link, struct lb_side *side,
                         struct lb_h2_window *window, uint32_t stream, const char *bytes, uint32_t count, int end_stream)
{
    (void)side;
    uint32_t held = link->out.pending + LB_H2_FRAME_HEAD;
    uint32_t most = held < LB_H2_DATA_HELD ? LB_H2_DATA_HELD - held : 0;
    uint32_t taken = lb_h2_window_grant(window, &link->window, count < most ? count : most);
    uint8_t *at = taken ? room(ctx, link, LB_H2_FRAME_HEAD + taken) : NULL;
    if (!at)
        return 0;
    uint8_t *body = lb_h2_write_head(at, LB_H2_DATA, taken == count && end_stream ? LB_H2_END_STREAM : 0, stream, taken);
    memcpy(body, bytes, taken);
    wrote(link, at, body + taken);
    window->left -= (int32_t)taken;
    link->window.left -= (int32_t)taken;
    return taken;
}

/* --- long bodies, without a copy -------------------------------------------------------------------------------------- */

enum { PARTS = 4 }; /* frames in one call */

/* Frames of one body as they lie in memory: heads apart, bytes where they are. */
struct frames {
    uint8_t heads[PARTS][LB_H2_FRAME_HEAD];
    struct iovec parts[2 * PARTS];
    int count;
    uint32_t bytes; /* of the body */
};

static void make_frames(const struct lb_h2_link *link, const struct lb_h2_window *window, uint32_t stream, const char *bytes,
                        uint32_t count, int end_stream, struct frames *frames)
{
    struct lb_h2_window left = *window, all = link->window;
    frames->count = 0;
    frames->bytes = 0;
    while (frames->count < 2 * PARTS && frames->bytes < count) {
        uint32_t taken = lb_h2_window_grant(&left, &all, count - frames->bytes);
        if (!taken)
            return;
        uint8_t *head = frames->heads[frames->count / 2], last = frames->bytes + taken == count && end_stream;
        lb_h2_write_head(head, LB_H2_DATA, last ? LB_H2_END_STREAM : 0, stream, taken);
        frames->parts[frames->count++] = (struct iovec){head, LB_H2_FRAME_HEAD};
        frames->parts[frames->count++] = (struct iovec){(void *)(uintptr_t)(bytes + frames->bytes), taken};
        frames->bytes += taken;
        left.left -= (int32_t)taken;
        all.left -= (int32_t)taken;
    }
}

/* What the socket took ends in the middle of a frame: the rest of that frame is held. How much of the body is done with. */
static uint32_t hold_rest(struct lb_worker_context *ctx, struct lb_h2_link *link, const struct frames *frames, size_t sent)
{
    uint32_t done = 0;
    for (int i = 0; i < frames->count; i += 2) {
        const struct iovec *head = &frames->parts[i], *body = head + 1;
        size_t whole = head->iov_len + body->iov_len;
        if (!sent)
            return done;
        done += (uint32_t)body->iov_len;
        if (sent >= whole) {
            sent -= whole;
            continue;
        }
        uint8_t *at = room(ctx, link, (uint32_t)(whole - sent)), *end = at;
        size_t of_head = sent < head->iov_len ? sent : head->iov_len, of_body = sent - of_head;
        if (!at)
            return done;
        memcpy(end, (const char *)head->iov_base + of_head, head->iov_len - of_head);
        end += head->iov_len - of_head;
        memcpy(end, (const char *)body->iov_base + of_body, body->iov_len - of_body);
        wrote(link, at, end + body->iov_len - of_body);
        return done;
    }
    return done;
}

/* As many as the socket takes, while nothing is held. How much of the body they have. */
static uint32_t send_frames(struct lb_worker_context *ctx, struct lb_h2_link *link, struct lb_side *side,
                            struct lb_h2_window *window, uint32_t stream, const char *bytes, uint32_t count, int end_stream)
{
    struct frames frames;
    make_frames(link, window, stream, bytes, count, end_stream, &frames);
    if (!frames.count)
        return 0;
    ssize_t sent = lb_send_parts(side->fd, frames.parts, (size_t)frames.count);
    uint32_t done = sent > 0 ? hold_rest(ctx, link, &frames, (size_t)sent) : 0;
    if (done < frames.bytes || link->out.pending)
        side->writable = 0; /* if it failed, the next call says so */
    window->left -= (int32_t)done;
    link->window.left -= (int32_t)done;
    return done;
}

uint32_t lb_h2_link_data(struct lb_worker_context *ctx, struct lb_h2_link *link, struct lb_side *side,
                         struct lb_h2_window *window, uint32_t stream, const char *bytes, uint32_t count, int end_stream)
{
    uint32_t taken = 0;
    while (taken < count) {
        int whole = count - taken > LB_H2_FRAME_BYTES && !side->tls && side->writable && !link->out.pending;
        uint32_t more =
            (whole ? send_frames : put_data)(ctx, link, side, window, stream, bytes + taken, count - taken, end_stream);
        taken += more;
        if (more)
            continue;
        if (link->failed || lb_h2_link_takes(link) || !side->writable || lb_h2_link_flush(ctx, link, side) < 1)
            break; /* a window is empty, or the side is full */
    }
    lb_h2_budget_earn(&link->budget, taken);
    return taken;
}

int lb_h2_link_end_stream(struct lb_worker_context *ctx, struct lb_h2_link *link, uint32_t stream)
{
    uint8_t *at = lb_h2_link_takes(link) ? room(ctx, link, LB_H2_FRAME_HEAD) : NULL;
    if (!at)
        return -1;
    wrote(link, at, lb_h2_write_head(at, LB_H2_DATA, LB_H2_END_STREAM, stream, 0));
    return 0;
}

void lb_h2_count_reset(struct lb_worker_row *row, enum lb_reset_by which, uint32_t code)
{
    uint32_t other = LB_RESETS_CODES - 1;
    lb_add(&row->http2_resets[which * LB_RESETS_CODES + (code < other ? code : other)], 1);
}

/* --- what is heard ------------------------------------------------------------------------------------------------------ */

enum lb_h2_error lb_h2_link_spend(struct lb_worker_context *ctx, struct lb_h2_link *link)
{
    if (lb_h2_budget_spend(&link->budget, lb_now_ms(ctx)) == 0)
        return LB_H2_NO_ERROR;
    lb_add(&ctx->row->http2_floods_frames, 1);
    return LB_H2_ENHANCE_YOUR_CALM;
}

static enum lb_h2_error take_setting(struct lb_h2_link *link, const struct lb_h2_event *event)
{
    enum lb_h2_error error = lb_h2_settings_take(&link->peer, event->number, event->value, link->by_server);
    if (error == LB_H2_NO_ERROR && event->number == LB_H2_HEADER_TABLE_SIZE)
        lb_hpack_writer_resize(&link->fields_out, event->value);
    return error;
}

/* The first is what every connection begins with. */
static enum lb_h2_error settings_end(struct lb_worker_context *ctx, struct lb_h2_link *link)
{
    enum lb_h2_error error = link->settled ? lb_h2_link_spend(ctx, link) : LB_H2_NO_ERROR;
    uint8_t *at = room(ctx, link, LB_H2_FRAME_HEAD);
    link->settled = 1;
    if (at)
        wrote(link, at, lb_h2_write_settings_ack(at));
    return error;
}

static enum lb_h2_error pinged(struct lb_worker_context *ctx, struct lb_h2_link *link, const uint8_t *payload)
{
    uint8_t *at = room(ctx, link, LB_H2_PING_BYTES);
    if (at)
        wrote(link, at, lb_h2_write_ping(at, payload, 1));
    return lb_h2_link_spend(ctx, link);
}

static enum lb_h2_error window_grew(struct lb_worker_context *ctx, struct lb_h2_link *link, uint32_t bytes)
{
    if (lb_h2_window_add(&link->window, bytes) < 0)
        return LB_H2_FLOW_CONTROL_ERROR;
    return lb_h2_link_spend(ctx, link);
}

enum lb_h2_error lb_h2_link_hear(struct lb_worker_context *ctx, struct lb_h2_link *link, const struct lb_h2_event *event)
{
    switch (event->kind) {
    case LB_H2_SETTING:
        return take_setting(link, event);
    case LB_H2_SETTINGS_END:
        return settings_end(ctx, link);
    case LB_H2_PINGED:
        return pinged(ctx, link, event->bytes);
    case LB_H2_PONGED:
        link->pings -= link->pings > 0;
        return LB_H2_NO_ERROR;
    case LB_H2_WINDOW:
        return window_grew(ctx, link, event->value);
    case LB_H2_GOING_AWAY:
        link->last_heard = event->number;
        return lb_h2_link_spend(ctx, link);
    case LB_H2_CHEAP:
    case LB_H2_SETTINGS_ACK:
    case LB_H2_RESET:
    case LB_H2_STREAM_FAULT:
        return lb_h2_link_spend(ctx, link);
    case LB_H2_FAULT:
        return (enum lb_h2_error)event->value;
    case LB_H2_MORE:
    case LB_H2_BLOCK_BEGINS:
    case LB_H2_BLOCK:
    case LB_H2_BLOCK_ENDS:
    case LB_H2_BODY:
    case LB_H2_BODY_ENDS:
        break;
    }
    return LB_H2_NO_ERROR;
}

enum lb_h2_error lb_h2_link_charge(struct lb_worker_context *ctx, struct lb_h2_link *link, uint32_t bytes)
{
    if (lb_h2_credit_spend(&link->credit, bytes) < 0)
        return LB_H2_FLOW_CONTROL_ERROR;
    lb_h2_budget_earn(&link->budget, bytes);
    uint32_t increment = lb_h2_credit_return(&link->credit, bytes);
    if (increment)
        lb_h2_link_window(ctx, link, 0, increment);
    return LB_H2_NO_ERROR;
}
