/* A header block as it comes, in HEADERS and CONTINUATION frames split anywhere: its fields as lines of HTTP/1, one after the other, in a head
 * buffer. HPACK is read to the end whatever becomes of the fields, since its table is the connection's. */
#ifndef LB_H2_BLOCK_H
#define LB_H2_BLOCK_H

#include "../../h2/hpack_read.h"
#include "../../h2/names.h"

struct lb_l7;

enum { LB_H2_BLOCK_MOST = 262144 }; /* bytes of a block as it comes; a longer one is an attack (RFC 9113 10.5.1) */

struct lb_h2_block {
    uint32_t stream; /* 0: none is under way */
    uint32_t lines;  /* head buffer; LB_SLAB_NONE: none */
    uint32_t part;   /* buffer with the beginning of a representation that goes on in the next frame; LB_SLAB_NONE: none */
    uint32_t part_count;
    uint32_t bytes; /* of the block, so far */
    uint8_t end_stream;
    uint8_t too_large; /* the lines have no room: fields are passed over */
    uint8_t pad[2];
};

/* A field has come: its line ends the lines in `base`. Where is the next to begin? */
typedef uint32_t (*lb_h2_field_fn)(void *context, char *base, const struct lb_hpack_field *field);

void lb_h2_block_open(struct lb_h2_block *block);
void lb_h2_block_begin(struct lb_h2_block *block, struct lb_hpack_reader *reader, uint32_t stream, int end_stream);

/* More of it. at: where the next line begins. Returns the fault of the connection. */
__attribute__((warn_unused_result)) enum lb_h2_error lb_h2_block_read(struct lb_l7 *l7, struct lb_h2_block *block,
                                                                      struct lb_hpack_reader *reader, const uint8_t *bytes,
                                                                      uint32_t count, uint32_t at, lb_h2_field_fn field,
                                                                      void *context);

/* It is whole: is it? Returns the fault of the connection. The lines stay until it is dropped. */
__attribute__((warn_unused_result)) enum lb_h2_error lb_h2_block_end(const struct lb_h2_block *block);
void lb_h2_block_drop(struct lb_l7 *l7, struct lb_h2_block *block);

/* The lines; NULL: none came. */
char *lb_h2_block_lines(const struct lb_l7 *l7, const struct lb_h2_block *block);

#endif
