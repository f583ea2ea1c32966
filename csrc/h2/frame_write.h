/* Writing of HTTP/2 frames (RFC 9113 6). Each function returns the byte behind what it wrote. Nothing is padded (grpcio 1.85.1 does
 * not take it), and no frame of an extension is sent (grpclib 0.4.9). */
#ifndef LB_FRAME_WRITE_H
#define LB_FRAME_WRITE_H

#include <stdint.h>

#include "names.h"

/* Bytes of frames with payloads of one size. */
enum {
    LB_H2_PING_BYTES = LB_H2_FRAME_HEAD + 8,
    LB_H2_GOAWAY_BYTES = LB_H2_FRAME_HEAD + 8,
    LB_H2_RESET_BYTES = LB_H2_FRAME_HEAD + 4,
    LB_H2_WINDOW_BYTES = LB_H2_FRAME_HEAD + 4,
    LB_H2_SETTING_BYTES = 6,
};

struct lb_h2_setting_pair {
    uint16_t number; /* enum lb_h2_setting */
    uint32_t value;
};

/* The head of a frame whose payload of `bytes` bytes follows. */
uint8_t *lb_h2_write_head(uint8_t *out, enum lb_h2_frame_type type, uint8_t flags, uint32_t stream, uint32_t bytes);

uint8_t *lb_h2_write_settings(uint8_t *out, const struct lb_h2_setting_pair *pairs, uint32_t count);
uint8_t *lb_h2_write_settings_ack(uint8_t *out);
uint8_t *lb_h2_write_ping(uint8_t *out, const uint8_t payload[8], int ack);
uint8_t *lb_h2_write_goaway(uint8_t *out, uint32_t last_stream, enum lb_h2_error error);
uint8_t *lb_h2_write_reset(uint8_t *out, uint32_t stream, enum lb_h2_error error);
uint8_t *lb_h2_write_window(uint8_t *out, uint32_t stream, uint32_t increment);

/* A header block of `bytes` bytes takes so many with its frames' heads, where payloads are at most `frame` bytes. */
uint32_t lb_h2_block_bytes(uint32_t bytes, uint32_t frame);

/* Make the block at out + LB_H2_FRAME_HEAD one HEADERS frame and as many of CONTINUATION as it takes, in place. Needs
 * lb_h2_block_bytes from `out` on. */
uint8_t *lb_h2_frame_block(uint8_t *out, uint32_t bytes, uint32_t stream, int end_stream, uint32_t frame);

#endif
