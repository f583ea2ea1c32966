/* A request's body in the exchange's buffer, read as JSON for its routes, or for its pool's policy: as it comes, in its place, and without
 * its chunks' frames. */
#ifndef LB_JSON_BODY_H
#define LB_JSON_BODY_H

#include "../table/blocks.h"
#include "json_said.h"

/* Between the chunks of a body as it lies in the buffer (chunked.h: framed anew, with sizes alone). */
struct lb_chunk_walk {
    uint32_t left; /* of this chunk's data */
    uint8_t place; /* enum: in json_body.c; zero before the first byte */
};

struct lb_json_body {
    struct lb_json json;
    struct lb_json_said said;
    struct lb_chunk_walk walk;
    struct lb_blocks_reader text; /* of the value that streams; blocks is NULL: none is looked for */
    uint32_t version;             /* of the routes whose keys are looked for */
    uint32_t at;                  /* bytes of the request that were looked at: its head, and of its body what was read */
    uint32_t content;             /* bytes of that which are the body's content */
};

/* As of lb_json_body_begin, for a text: the value of that key which comes first becomes its blocks. */
void lb_json_body_begin_text(struct lb_json_body *body, const struct lb_json_path *keys, uint32_t count, uint32_t head,
                             const struct lb_blocks_reader *text);

/* Nothing was read yet: a request's body begins behind a head of so many bytes. */
void lb_json_body_begin(struct lb_json_body *body, const struct lb_json_path *keys, uint32_t count, uint32_t head);

/* Read on, up to `end` bytes of the request that lies at `request`, and `most` of its content. */
void lb_json_body_read(struct lb_json_body *body, const char *request, uint32_t end, int chunked, uint32_t most);

/* Nothing more comes; whole: for it was all. */
void lb_json_body_end(struct lb_json_body *body, int whole);

#endif
