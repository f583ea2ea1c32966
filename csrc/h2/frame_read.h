/* Reading of HTTP/2 frames (RFC 9113 4 and 6): one event a call, from bytes as they come, split anywhere. What a frame says by itself
 * is checked here: sizes, padding, stream identifiers, the order of HEADERS and CONTINUATION. What it means to streams is not. */
#ifndef LB_FRAME_READ_H
#define LB_FRAME_READ_H

#include <stdint.h>

#include "names.h"

enum lb_h2_event_kind {
    LB_H2_MORE,         /* all bytes were used */
    LB_H2_SETTING,      /* number, value */
    LB_H2_SETTINGS_END, /* all of a SETTINGS frame's came */
    LB_H2_SETTINGS_ACK,
    LB_H2_PINGED,       /* bytes: eight of them */
    LB_H2_PONGED,       /* bytes: eight of them */
    LB_H2_BLOCK_BEGINS, /* HEADERS: stream, end_stream; number: 1 when it says to depend on itself, a fault of the stream */
    LB_H2_BLOCK,        /* bytes of a header block */
    LB_H2_BLOCK_ENDS,
    LB_H2_BODY,       /* bytes of DATA, perhaps none; charge: what windows count, padding as well */
    LB_H2_BODY_ENDS,  /* of a DATA frame with END_STREAM, behind its bytes */
    LB_H2_RESET,      /* stream, value: the error */
    LB_H2_GOING_AWAY, /* number: the last stream, value: the error */
    LB_H2_WINDOW,     /* stream, value: the increment */
    LB_H2_CHEAP, /* a frame that asks for nothing: PRIORITY, DATA or CONTINUATION without bytes, a type that we do not know */
    LB_H2_STREAM_FAULT, /* stream, value: the error that RST_STREAM is to say */
    LB_H2_FAULT,        /* value: the error that GOAWAY is to say; nothing more may be read */
};

struct lb_h2_event {
    enum lb_h2_event_kind kind;
    uint32_t stream;
    uint32_t number;
    uint32_t value;
    const uint8_t *bytes; /* in what was given, or in the reader; until the next call */
    uint32_t count;
    uint32_t charge;
    uint8_t end_stream;
};

struct lb_h2_frame_reader {
    uint32_t left;   /* payload bytes that have not been used */
    uint32_t stream; /* of the frame under way */
    uint32_t block;  /* the stream whose header block is under way, or 0 */
    uint32_t most;   /* payload bytes that we announced */
    uint8_t step;    /* frame_read.c: enum step */
    uint8_t type;    /* enum lb_h2_frame_type */
    uint8_t flags;
    uint8_t padding; /* bytes at the payload's end */
    uint8_t begun;   /* the first frame has come */
    uint8_t kept_count;
    uint8_t kept[LB_H2_FRAME_HEAD]; /* a part that came split */
};

/* is_server: whether the peer is a client. A client's preface is read first. */
void lb_h2_frame_reader_open(struct lb_h2_frame_reader *reader, int is_server);

/* The next event; *used: how many of the bytes are done with. Call again with the rest until LB_H2_MORE. */
struct lb_h2_event lb_h2_frame_read(struct lb_h2_frame_reader *reader, const uint8_t *bytes, uint32_t count, uint32_t *used);

#endif
