/* What both ends of an HTTP/2 connection need, ours towards clients and ours towards backends: frames as they come and go, HPACK, what the
 * peer announced, windows of the connection, and the budget for frames that ask for nothing. Streams are their owners' matter. */
#ifndef LB_H2_LINK_H
#define LB_H2_LINK_H

#include "../../h2/budget.h"
#include "../../h2/frame_read.h"
#include "../../h2/frame_write.h"
#include "../../h2/hpack_write.h"
#include "../../h2/settings.h"
#include "../../h2/window.h"
#include "../../l4/sendq.h"
#include "block.h"

enum {
    LB_H2_READ_BYTES = 16384,         /* of frames, read at once at least, ... */
    LB_H2_READ_MOST = 45056,          /* ... and at most, while nothing waits to be sent */
    LB_H2_DATA_HELD = 40960,          /* no DATA is put behind so many bytes that have not been sent, ... */
    LB_H2_CONTROL_ROOM = 24576,       /* ... so that what LB_H2_READ_BYTES ask for, RST_STREAM for each frame, has room */
    LB_H2_STREAM_WINDOW = 65535,      /* that we announce: what a stream's other end does not take fits one buffer */
    LB_H2_CONNECTION_WINDOW = 1 << 20 /* that we allow by WINDOW_UPDATE */
};

_Static_assert((int)LB_H2_DATA_HELD + (int)LB_H2_CONTROL_ROOM <= (int)LB_BUFFER_BYTES, "both fit one buffer");
_Static_assert((int)LB_H2_CONTROL_ROOM / (int)LB_H2_RESET_BYTES * (int)LB_H2_FRAME_HEAD >= (int)LB_H2_READ_BYTES,
               "for the least");

struct lb_h2_link {
    struct lb_h2_frame_reader reader;
    struct lb_hpack_reader fields_in;
    struct lb_hpack_writer fields_out;
    struct lb_h2_settings peer; /* what it announced */
    struct lb_h2_window window; /* what all streams together may send */
    struct lb_h2_credit credit; /* what the peer's may */
    struct lb_h2_budget budget; /* of frames that ask for nothing, and of resets */
    struct lb_h2_block block;   /* the header block that is coming */
    uint8_t *block_out;         /* where the header block that is being written begins */
    struct lb_flow out;         /* frames that have not been sent */
    uint32_t last_in;           /* the highest stream that the peer opened; 0: none */
    uint32_t last_out;          /* that we opened */
    uint32_t last_said;         /* the last stream of our last GOAWAY; UINT32_MAX: none was sent */
    uint32_t last_heard;        /* likewise of the peer's */
    uint32_t pings;             /* of ours that have not been acknowledged */
    uint8_t settled;            /* the peer's first SETTINGS have come */
    uint8_t by_server;          /* the peer is one */
    uint8_t failed;             /* no buffer was free for what had to be said: nothing more can be */
    uint8_t pad;
};

/* is_server: our end is one. The memory of tables is l7->hpack. */
void lb_h2_link_open(struct lb_h2_link *link, struct lb_hpack_memory *memory, uint64_t now_ms, int is_server);
void lb_h2_link_close(struct lb_l7 *l7, struct lb_h2_link *link);

/* So many bytes may be read now: what they may ask for, RST_STREAM for each frame of DATA without any, has room. 0: none may. */
static inline uint32_t lb_h2_link_reads(const struct lb_h2_link *link)
{
    uint32_t pending = link->out.pending;
    if (link->failed || pending + LB_H2_CONTROL_ROOM > LB_BUFFER_BYTES)
        return 0;
    uint32_t bytes = (LB_BUFFER_BYTES - pending) / LB_H2_RESET_BYTES * LB_H2_FRAME_HEAD;
    return bytes < LB_H2_READ_MOST ? bytes : LB_H2_READ_MOST;
}

/* May HEADERS and DATA be put behind what has not been sent? */
static inline int lb_h2_link_takes(const struct lb_h2_link *link)
{
    return link->out.pending < LB_H2_DATA_HELD && !link->failed;
}

/* Send what is held: 1 nothing is left, 0 the side takes no more, -1 it failed. */
__attribute__((warn_unused_result)) int lb_h2_link_flush(struct lb_worker_context *ctx, struct lb_h2_link *link,
                                                         struct lb_side *side);

/* --- what is said ------------------------------------------------------------------------------------------------------- */

/* Our SETTINGS, and the window of the connection: the first that is said (behind the preface, of a client). */
void lb_h2_link_settings(struct lb_worker_context *ctx, struct lb_h2_link *link, const struct lb_h2_setting_pair *pairs,
                         uint32_t count);
void lb_h2_link_ping(struct lb_worker_context *ctx, struct lb_h2_link *link);
void lb_h2_link_goaway(struct lb_worker_context *ctx, struct lb_h2_link *link, uint32_t last, enum lb_h2_error error);
void lb_h2_link_reset(struct lb_worker_context *ctx, struct lb_h2_link *link, uint32_t stream, enum lb_h2_error error);
void lb_h2_link_window(struct lb_worker_context *ctx, struct lb_h2_link *link, uint32_t stream, uint32_t bytes);

/* A header block: where its first field goes, with room for `most` bytes of fields, or NULL: no buffer. Fields are written there by
 * lb_hpack_write(&link->fields_out, ...), and all of it goes out as frames of `stream`. */
uint8_t *lb_h2_link_block(struct lb_worker_context *ctx, struct lb_h2_link *link, uint32_t most);
void lb_h2_link_block_done(struct lb_h2_link *link, const uint8_t *end, uint32_t stream, int end_stream);

/* Put as much of it as both windows and the held bytes allow into DATA frames; what the side takes at once is sent, so that a long body is
 * no longer held than it must be. Returns how many bytes were taken; end_stream goes with the last of them. */
uint32_t lb_h2_link_data(struct lb_worker_context *ctx, struct lb_h2_link *link, struct lb_side *side,
                         struct lb_h2_window *window, uint32_t stream, const char *bytes, uint32_t count, int end_stream);

/* The empty DATA frame that ends a stream: 0, or -1, there is no room now. */
__attribute__((warn_unused_result)) int lb_h2_link_end_stream(struct lb_worker_context *ctx, struct lb_h2_link *link,
                                                              uint32_t stream);

/* A stream was reset, by this code. */
void lb_h2_count_reset(struct lb_worker_row *row, enum lb_reset_by which, uint32_t code);

/* --- what is heard ------------------------------------------------------------------------------------------------------ */

/* An event of the connection: settings, pings, cheap frames, WINDOW_UPDATE of stream 0, GOAWAY, a fault. What must be said to it is. A change
 * of peer.window is to be told to open streams by the caller (lb_h2_window_shift). Returns the fault of the connection. */
__attribute__((warn_unused_result)) enum lb_h2_error lb_h2_link_hear(struct lb_worker_context *ctx, struct lb_h2_link *link,
                                                                     const struct lb_h2_event *event);

/* A frame that asks for nothing has come. Returns the fault of the connection: ENHANCE_YOUR_CALM, which is counted. */
__attribute__((warn_unused_result)) enum lb_h2_error lb_h2_link_spend(struct lb_worker_context *ctx, struct lb_h2_link *link);

/* DATA has come: it counts against the connection's window, which is allowed anew at once, since streams' own windows bound what is
 * held. Returns the fault of the connection. */
__attribute__((warn_unused_result)) enum lb_h2_error lb_h2_link_charge(struct lb_worker_context *ctx, struct lb_h2_link *link,
                                                                       uint32_t bytes);

#endif
