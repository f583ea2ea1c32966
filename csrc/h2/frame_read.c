#include "frame_read.h"

#include <string.h>

/* What is read next. */
enum step {
    PREFACE, /* of a client */
    HEAD,    /* the nine bytes before a payload */
    PREFIX,  /* what stands before the bytes of DATA and HEADERS: padding's length, priority */
    SETTING, /* six bytes of SETTINGS */
    PART,    /* a payload, or its beginning, of a size that its type sets */
    CONTENT, /* the bytes of DATA, or of a header block */
    REST,    /* what is passed over: padding, debug data, frames of other types */
    BROKEN,  /* after a fault of the connection */
};

enum outcome {
    GO_ON,
    NEED_BYTES,
    EVENT,
};

struct input {
    const uint8_t *at;
    const uint8_t *end;
};

static uint32_t number_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* The top bit is reserved and not looked at (RFC 9113 4.1). */
static uint32_t stream_at(const uint8_t *bytes)
{
    return number_at(bytes) & 0x7fffffff;
}

/* So many bytes in one piece, or NULL while they have not come. */
static const uint8_t *gather(struct lb_h2_frame_reader *reader, struct input *input, uint32_t need)
{
    uint32_t here = (uint32_t)(input->end - input->at);
    if (reader->kept_count == 0 && here >= need) {
        input->at += need;
        return input->at - need;
    }
    uint32_t taken = need - reader->kept_count < here ? need - reader->kept_count : here;
    if (taken)
        memcpy(reader->kept + reader->kept_count, input->at, taken);
    input->at += taken;
    reader->kept_count += (uint8_t)taken;
    if (reader->kept_count < need)
        return NULL;
    reader->kept_count = 0;
    return reader->kept;
}

/* The same, out of the payload. */
static const uint8_t *gather_payload(struct lb_h2_frame_reader *reader, struct input *input, uint32_t need)
{
    const uint8_t *bytes = gather(reader, input, need);
    reader->left -= bytes ? need : 0;
    return bytes;
}

/* --- events --------------------------------------------------------------------------------------------------------- */

static enum outcome happened(struct lb_h2_frame_reader *reader, struct lb_h2_event *event, enum lb_h2_event_kind kind)
{
    event->kind = kind;
    event->stream = reader->stream;
    return EVENT;
}

static enum outcome fault(struct lb_h2_frame_reader *reader, struct lb_h2_event *event, enum lb_h2_error error)
{
    reader->step = BROKEN;
    event->value = error;
    return happened(reader, event, LB_H2_FAULT);
}

/* The rest of the frame is passed over. */
static enum outcome stream_fault(struct lb_h2_frame_reader *reader, struct lb_h2_event *event, enum lb_h2_error error)
{
    reader->step = REST;
    event->value = error;
    return happened(reader, event, LB_H2_STREAM_FAULT);
}

/* --- the head of a frame -------------------------------------------------------------------------------------------- */

static int is_of_a_block(const struct lb_h2_frame_reader *reader)
{
    return reader->type == LB_H2_HEADERS || reader->type == LB_H2_CONTINUATION;
}

/* RFC 9113 6.2, 6.10: nothing comes between HEADERS and the CONTINUATION that ends its block. */
static enum lb_h2_error check_order(const struct lb_h2_frame_reader *reader)
{
    int continues = reader->type == LB_H2_CONTINUATION;
    if (!reader->begun && (reader->type != LB_H2_SETTINGS || reader->flags & LB_H2_ACK))
        return LB_H2_PROTOCOL_ERROR; /* 3.4 */
    if (continues ? reader->stream != reader->block || reader->block == 0 : reader->block != 0)
        return LB_H2_PROTOCOL_ERROR;
    return LB_H2_NO_ERROR;
}

static enum lb_h2_error check_stream(const struct lb_h2_frame_reader *reader)
{
    switch (reader->type) {
    case LB_H2_DATA:
    case LB_H2_HEADERS:
    case LB_H2_PRIORITY:
    case LB_H2_RST_STREAM:
    case LB_H2_CONTINUATION:
        return reader->stream ? LB_H2_NO_ERROR : LB_H2_PROTOCOL_ERROR;
    case LB_H2_SETTINGS:
    case LB_H2_PING:
    case LB_H2_GOAWAY:
        return reader->stream ? LB_H2_PROTOCOL_ERROR : LB_H2_NO_ERROR;
    case LB_H2_PUSH_PROMISE: /* 6.6: we never allow it */
        return LB_H2_PROTOCOL_ERROR;
    default:
        return LB_H2_NO_ERROR;
    }
}

/* PRIORITY of a wrong size is a fault of the stream alone (6.3), which read_part sees. */
static enum lb_h2_error check_size(const struct lb_h2_frame_reader *reader)
{
    int fits = reader->left <= reader->most;
    if (reader->type == LB_H2_RST_STREAM || reader->type == LB_H2_WINDOW_UPDATE)
        fits = reader->left == 4;
    else if (reader->type == LB_H2_PING)
        fits = reader->left == 8;
    else if (reader->type == LB_H2_GOAWAY)
        fits = fits && reader->left >= 8;
    else if (reader->type == LB_H2_SETTINGS)
        fits = fits && (reader->flags & LB_H2_ACK ? reader->left == 0 : reader->left % 6 == 0);
    return fits ? LB_H2_NO_ERROR : LB_H2_FRAME_SIZE_ERROR;
}

static enum lb_h2_error check_head(const struct lb_h2_frame_reader *reader)
{
    enum lb_h2_error error = check_order(reader);
    if (error == LB_H2_NO_ERROR)
        error = check_stream(reader);
    return error == LB_H2_NO_ERROR ? check_size(reader) : error;
}

static uint32_t prefix_bytes(const struct lb_h2_frame_reader *reader)
{
    uint32_t bytes = reader->flags & LB_H2_PADDED ? 1 : 0;
    return reader->type == LB_H2_HEADERS && reader->flags & LB_H2_PRIORITY_FLAG ? bytes + 5 : bytes;
}

static enum step step_of(const struct lb_h2_frame_reader *reader)
{
    switch (reader->type) {
    case LB_H2_DATA:
    case LB_H2_HEADERS:
        return PREFIX;
    case LB_H2_CONTINUATION:
        return CONTENT;
    case LB_H2_SETTINGS:
        return SETTING;
    case LB_H2_PRIORITY:
    case LB_H2_RST_STREAM:
    case LB_H2_PING:
    case LB_H2_GOAWAY:
    case LB_H2_WINDOW_UPDATE:
        return PART;
    default:
        return REST;
    }
}

/* DATA and CONTINUATION that bring nothing, not even an end. */
static int is_empty(const struct lb_h2_frame_reader *reader)
{
    int ends = reader->flags & (reader->type == LB_H2_DATA ? LB_H2_END_STREAM : LB_H2_END_HEADERS);
    return (reader->type == LB_H2_DATA || reader->type == LB_H2_CONTINUATION) && reader->left == 0 && !ends;
}

static enum outcome read_head(struct lb_h2_frame_reader *reader, struct input *input, struct lb_h2_event *event)
{
    const uint8_t *bytes = gather(reader, input, LB_H2_FRAME_HEAD);
    if (!bytes)
        return NEED_BYTES;
    reader->left = (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2];
    reader->type = bytes[3];
    reader->flags = bytes[4];
    reader->stream = stream_at(bytes + 5);
    reader->padding = 0;
    enum lb_h2_error error = check_head(reader);
    if (error != LB_H2_NO_ERROR)
        return fault(reader, event, error);
    reader->begun = 1;
    reader->step = (uint8_t)step_of(reader);
    if (reader->type > LB_H2_CONTINUATION || is_empty(reader))
        return happened(reader, event, LB_H2_CHEAP);
    return GO_ON;
}

static enum outcome read_preface(struct lb_h2_frame_reader *reader, struct input *input, struct lb_h2_event *event)
{
    while (input->at < input->end && reader->kept_count < LB_H2_PREFACE_BYTES)
        if (*input->at++ != (uint8_t)LB_H2_PREFACE[reader->kept_count++])
            return fault(reader, event, LB_H2_PROTOCOL_ERROR);
    if (reader->kept_count < LB_H2_PREFACE_BYTES)
        return NEED_BYTES;
    reader->kept_count = 0;
    reader->step = HEAD;
    return GO_ON;
}

/* --- payloads ------------------------------------------------------------------------------------------------------- */

/* 5.3.1 of RFC 7540, which RFC 9113 took back; suites of tests still ask for it. */
static int depends_on_itself(const struct lb_h2_frame_reader *reader, const uint8_t *priority)
{
    return stream_at(priority) == reader->stream;
}

static enum outcome begin_block(struct lb_h2_frame_reader *reader, struct lb_h2_event *event)
{
    reader->block = reader->stream;
    event->end_stream = reader->flags & LB_H2_END_STREAM;
    return happened(reader, event, LB_H2_BLOCK_BEGINS);
}

/* The padding is charged at once; see lb_h2_event.charge. */
static enum outcome begin_data(struct lb_h2_frame_reader *reader, struct lb_h2_event *event)
{
    if (!(reader->flags & LB_H2_PADDED))
        return GO_ON;
    event->charge = 1u + reader->padding;
    return happened(reader, event, LB_H2_BODY);
}

static enum outcome read_prefix(struct lb_h2_frame_reader *reader, struct input *input, struct lb_h2_event *event)
{
    uint32_t need = prefix_bytes(reader);
    if (need > reader->left)
        return fault(reader, event, LB_H2_FRAME_SIZE_ERROR);
    const uint8_t *prefix = gather_payload(reader, input, need);
    if (!prefix)
        return NEED_BYTES;
    int padded = reader->flags & LB_H2_PADDED ? 1 : 0;
    reader->padding = padded ? prefix[0] : 0;
    if (reader->padding > reader->left)
        return fault(reader, event, LB_H2_PROTOCOL_ERROR); /* 6.1 */
    reader->step = CONTENT;
    if (reader->type == LB_H2_DATA)
        return begin_data(reader, event);
    event->number = need > 1 && depends_on_itself(reader, prefix + padded);
    return begin_block(reader, event);
}

/* The frame is over: what is behind it? */
static enum outcome end_frame(struct lb_h2_frame_reader *reader, struct lb_h2_event *event)
{
    reader->step = HEAD;
    if (reader->type == LB_H2_DATA && reader->flags & LB_H2_END_STREAM)
        return happened(reader, event, LB_H2_BODY_ENDS);
    if (!is_of_a_block(reader) || !(reader->flags & LB_H2_END_HEADERS))
        return GO_ON;
    reader->block = 0;
    return happened(reader, event, LB_H2_BLOCK_ENDS);
}

static enum outcome read_content(struct lb_h2_frame_reader *reader, struct input *input, struct lb_h2_event *event)
{
    uint32_t here = (uint32_t)(input->end - input->at), content = reader->left - reader->padding;
    if (content == 0) {
        reader->step = REST;
        return GO_ON;
    }
    if (here == 0)
        return NEED_BYTES;
    event->bytes = input->at;
    event->count = content < here ? content : here;
    input->at += event->count;
    reader->left -= event->count;
    if (is_of_a_block(reader))
        return happened(reader, event, LB_H2_BLOCK);
    event->charge = event->count;
    return happened(reader, event, LB_H2_BODY);
}

static enum outcome read_rest(struct lb_h2_frame_reader *reader, struct input *input, struct lb_h2_event *event)
{
    uint32_t here = (uint32_t)(input->end - input->at), passed = reader->left < here ? reader->left : here;
    input->at += passed;
    reader->left -= passed;
    return reader->left ? NEED_BYTES : end_frame(reader, event);
}

static enum outcome read_setting(struct lb_h2_frame_reader *reader, struct input *input, struct lb_h2_event *event)
{
    if (reader->left == 0) {
        reader->step = HEAD;
        return happened(reader, event, reader->flags & LB_H2_ACK ? LB_H2_SETTINGS_ACK : LB_H2_SETTINGS_END);
    }
    const uint8_t *bytes = gather_payload(reader, input, 6);
    if (!bytes)
        return NEED_BYTES;
    event->number = (uint32_t)bytes[0] << 8 | bytes[1];
    event->value = number_at(bytes + 2);
    return happened(reader, event, LB_H2_SETTING);
}

static enum outcome read_ping(struct lb_h2_frame_reader *reader, const uint8_t *bytes, struct lb_h2_event *event)
{
    event->bytes = bytes;
    event->count = 8;
    return happened(reader, event, reader->flags & LB_H2_ACK ? LB_H2_PONGED : LB_H2_PINGED);
}

static enum outcome read_window(struct lb_h2_frame_reader *reader, const uint8_t *bytes, struct lb_h2_event *event)
{
    event->value = stream_at(bytes);
    if (event->value)
        return happened(reader, event, LB_H2_WINDOW);
    return reader->stream ? stream_fault(reader, event, LB_H2_PROTOCOL_ERROR)
                          : fault(reader, event, LB_H2_PROTOCOL_ERROR); /* 6.9 */
}

static enum outcome read_priority(struct lb_h2_frame_reader *reader, const uint8_t *bytes, struct lb_h2_event *event)
{
    if (depends_on_itself(reader, bytes))
        return stream_fault(reader, event, LB_H2_PROTOCOL_ERROR);
    return happened(reader, event, LB_H2_CHEAP);
}

static uint32_t part_bytes(const struct lb_h2_frame_reader *reader)
{
    if (reader->type == LB_H2_PRIORITY)
        return 5;
    return reader->type == LB_H2_PING || reader->type == LB_H2_GOAWAY ? 8 : 4;
}

static enum outcome read_part(struct lb_h2_frame_reader *reader, struct input *input, struct lb_h2_event *event)
{
    if (reader->type == LB_H2_PRIORITY && reader->left != 5 && reader->kept_count == 0)
        return stream_fault(reader, event, LB_H2_FRAME_SIZE_ERROR);
    const uint8_t *bytes = gather_payload(reader, input, part_bytes(reader));
    if (!bytes)
        return NEED_BYTES;
    reader->step = REST;
    switch (reader->type) {
    case LB_H2_PING:
        return read_ping(reader, bytes, event);
    case LB_H2_WINDOW_UPDATE:
        return read_window(reader, bytes, event);
    case LB_H2_PRIORITY:
        return read_priority(reader, bytes, event);
    case LB_H2_GOAWAY:
        event->number = stream_at(bytes);
        event->value = number_at(bytes + 4);
        return happened(reader, event, LB_H2_GOING_AWAY);
    default:
        event->value = number_at(bytes);
        return happened(reader, event, LB_H2_RESET);
    }
}

/* --- the reader ----------------------------------------------------------------------------------------------------- */

void lb_h2_frame_reader_open(struct lb_h2_frame_reader *reader, int is_server)
{
    *reader = (struct lb_h2_frame_reader){.most = LB_H2_FRAME_BYTES, .step = is_server ? PREFACE : HEAD};
}

static enum outcome read_step(struct lb_h2_frame_reader *reader, struct input *input, struct lb_h2_event *event)
{
    switch ((enum step)reader->step) {
    case PREFACE:
        return read_preface(reader, input, event);
    case HEAD:
        return read_head(reader, input, event);
    case PREFIX:
        return read_prefix(reader, input, event);
    case SETTING:
        return read_setting(reader, input, event);
    case PART:
        return read_part(reader, input, event);
    case CONTENT:
        return read_content(reader, input, event);
    case REST:
        return read_rest(reader, input, event);
    case BROKEN:
        break;
    }
    input->at = input->end;
    return NEED_BYTES;
}

struct lb_h2_event lb_h2_frame_read(struct lb_h2_frame_reader *reader, const uint8_t *bytes, uint32_t count, uint32_t *used)
{
    struct input input = {bytes, bytes + count};
    struct lb_h2_event event = {.kind = LB_H2_MORE};
    enum outcome outcome;
    do
        outcome = read_step(reader, &input, &event);
    while (outcome == GO_ON);
    *used = (uint32_t)(input.at - bytes);
    return event;
}
