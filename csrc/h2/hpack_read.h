/* Reading of HPACK (RFC 7541): field representations from a header block, one a call. Each field is written as a line of HTTP/1,
 * "name: value" and CRLF, so that what reads lines need not know where they came from. Syntax of names and values is fields.h's. */
#ifndef LB_HPACK_READ_H
#define LB_HPACK_READ_H

#include "hpack_table.h"

/* Room that a call must be given at least. A field that the table may hold fits in it, so the table stays right whatever becomes of
 * the field. */
enum { LB_HPACK_LINE_ROOM = LB_HPACK_TABLE_BYTES };

struct lb_hpack_reader {
    struct lb_hpack_table table;
    uint8_t in_fields; /* a field of this block has come: the table's size may not change any more */
    uint8_t dropping; /* the caller's: fields of this block are not wanted, only the table is kept right; each is LB_HPACK_LONG */
};

/* A field as it was written. Pointers into the room. */
struct lb_hpack_field {
    char *name;
    char *value;
    uint32_t name_length;
    uint32_t value_length;
    uint8_t static_index; /* of the entry that the name came from, or 0 */
    uint8_t never;        /* it must not be indexed by anybody (RFC 7541 7.1.3) */
};

enum lb_hpack_result {
    LB_HPACK_FIELD,
    LB_HPACK_RESIZED, /* no field: the table's size changed */
    LB_HPACK_LONG,    /* a field that the room does not hold, or that is not wanted; the table took note of it */
    LB_HPACK_PARTIAL, /* nothing was used: the representation goes on behind the bytes */
    LB_HPACK_BAD,     /* COMPRESSION_ERROR */
    LB_HPACK_NO_MEMORY,
};

void lb_hpack_reader_open(struct lb_hpack_reader *reader, struct lb_hpack_memory *memory);
void lb_hpack_reader_close(struct lb_hpack_reader *reader);

/* Before the first byte of each header block. Fields are wanted again. */
void lb_hpack_block_begin(struct lb_hpack_reader *reader);

/* Read the representation at the front of the bytes; *used: its length. room: at least LB_HPACK_LINE_ROOM bytes at `out`; the line
 * takes name_length + value_length + 4 of them. */
__attribute__((warn_unused_result)) enum lb_hpack_result lb_hpack_read(struct lb_hpack_reader *reader, const uint8_t *bytes,
                                                                       uint32_t count, uint32_t *used, char *out, uint32_t room,
                                                                       struct lb_hpack_field *field);

#endif
