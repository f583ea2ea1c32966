#include "frame_write.h"

#include <string.h>

static uint8_t *put_number(uint8_t *out, uint32_t value)
{
    out[0] = (uint8_t)(value >> 24);
    out[1] = (uint8_t)(value >> 16);
    out[2] = (uint8_t)(value >> 8);
    out[3] = (uint8_t)value;
    return out + 4;
}

uint8_t *lb_h2_write_head(uint8_t *out, enum lb_h2_frame_type type, uint8_t flags, uint32_t stream, uint32_t bytes)
{
    out[0] = (uint8_t)(bytes >> 16);
    out[1] = (uint8_t)(bytes >> 8);
    out[2] = (uint8_t)bytes;
    out[3] = (uint8_t)type;
    out[4] = flags;
    return put_number(out + 5, stream);
}

uint8_t *lb_h2_write_settings(uint8_t *out, const struct lb_h2_setting_pair *pairs, uint32_t count)
{
    out = lb_h2_write_head(out, LB_H2_SETTINGS, 0, 0, count * LB_H2_SETTING_BYTES);
    for (uint32_t i = 0; i < count; i++) {
        out[0] = (uint8_t)(pairs[i].number >> 8);
        out[1] = (uint8_t)pairs[i].number;
        out = put_number(out + 2, pairs[i].value);
    }
    return out;
}

uint8_t *lb_h2_write_settings_ack(uint8_t *out)
{
    return lb_h2_write_head(out, LB_H2_SETTINGS, LB_H2_ACK, 0, 0);
}

uint8_t *lb_h2_write_ping(uint8_t *out, const uint8_t payload[8], int ack)
{
    out = lb_h2_write_head(out, LB_H2_PING, ack ? LB_H2_ACK : 0, 0, 8);
    memcpy(out, payload, 8);
    return out + 8;
}

uint8_t *lb_h2_write_goaway(uint8_t *out, uint32_t last_stream, enum lb_h2_error error)
{
    out = lb_h2_write_head(out, LB_H2_GOAWAY, 0, 0, 8);
    return put_number(put_number(out, last_stream), error);
}

uint8_t *lb_h2_write_reset(uint8_t *out, uint32_t stream, enum lb_h2_error error)
{
    return put_number(lb_h2_write_head(out, LB_H2_RST_STREAM, 0, stream, 4), error);
}

uint8_t *lb_h2_write_window(uint8_t *out, uint32_t stream, uint32_t increment)
{
    return put_number(lb_h2_write_head(out, LB_H2_WINDOW_UPDATE, 0, stream, 4), increment);
}

static uint32_t frames_of(uint32_t bytes, uint32_t frame)
{
    return bytes ? (bytes + frame - 1) / frame : 1;
}

uint32_t lb_h2_block_bytes(uint32_t bytes, uint32_t frame)
{
    return bytes + frames_of(bytes, frame) * LB_H2_FRAME_HEAD;
}

/* From the last piece to the first: each moves to where room was made for the heads before it. */
uint8_t *lb_h2_frame_block(uint8_t *out, uint32_t bytes, uint32_t stream, int end_stream, uint32_t frame)
{
    uint8_t *block = out + LB_H2_FRAME_HEAD;
    uint32_t last = frames_of(bytes, frame) - 1;
    for (uint32_t i = last; i > 0; i--) {
        uint32_t begin = i * frame, count = i == last ? bytes - begin : frame;
        uint8_t *head = out + i * (frame + LB_H2_FRAME_HEAD);
        memmove(head + LB_H2_FRAME_HEAD, block + begin, count);
        lb_h2_write_head(head, LB_H2_CONTINUATION, i == last ? LB_H2_END_HEADERS : 0, stream, count);
    }
    uint8_t flags = (uint8_t)((last == 0 ? LB_H2_END_HEADERS : 0) | (end_stream ? LB_H2_END_STREAM : 0));
    lb_h2_write_head(out, LB_H2_HEADERS, flags, stream, last == 0 ? bytes : frame);
    return out + lb_h2_block_bytes(bytes, frame);
}
