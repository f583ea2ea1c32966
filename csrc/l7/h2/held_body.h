/* What came of a body in DATA and is held until the other end takes it: written as that end takes it, in chunks of HTTP/1 or plain. */
#ifndef LB_H2_HELD_BODY_H
#define LB_H2_HELD_BODY_H

#include "../../l4/sendq.h"

enum {
    LB_H2_CHUNK_BESIDE = 16, /* bytes that frame one chunk, at most: its size, and two ends of lines */
    LB_H2_LAST_BESIDE = 8,   /* and those of the last */
};

/* Each returns where the next byte goes. */
char *lb_h2_put(char *to, const void *bytes, size_t count);

/* The line before a chunk of so many bytes. */
char *lb_h2_put_size(char *to, uint32_t size);

/* Take so many bytes of what a flow's buffer holds, and write them; chunks: as one chunk. */
char *lb_h2_move_held(struct lb_worker_context *ctx, struct lb_flow *in, char *to, uint32_t count, int chunks);

#endif
