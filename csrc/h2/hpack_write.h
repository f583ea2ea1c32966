/* Writing of HPACK (RFC 7541): one field representation a call. */
#ifndef LB_HPACK_WRITE_H
#define LB_HPACK_WRITE_H

#include "hpack_table.h"

/* What one field takes at most, beside its name and value. */
enum { LB_HPACK_WRITE_ROOM = 32 };

/* What becomes of a field's value. */
enum lb_hpack_keeping {
    LB_HPACK_REMEMBER, /* it is likely to come again: it goes into the table */
    LB_HPACK_FORGET,   /* it changes each time: a literal */
    LB_HPACK_SECRET,   /* a literal that nobody may index, lest its bytes be guessed one by one (RFC 7541 7.1.3) */
};

struct lb_hpack_writer {
    struct lb_hpack_table table;
    uint16_t smallest; /* the smallest size since the last block, which the peer must be told */
    uint8_t resized;
};

void lb_hpack_writer_open(struct lb_hpack_writer *writer, struct lb_hpack_memory *memory);
void lb_hpack_writer_close(struct lb_hpack_writer *writer);

/* The peer's SETTINGS_HEADER_TABLE_SIZE, bytes. What we use of it is at most LB_HPACK_TABLE_BYTES. */
void lb_hpack_writer_resize(struct lb_hpack_writer *writer, uint32_t limit);

/* What must stand at each block's beginning; needs LB_HPACK_WRITE_ROOM bytes. Returns the byte behind it. */
uint8_t *lb_hpack_write_begin(struct lb_hpack_writer *writer, uint8_t *out);

/* ":status", three digits. */
uint8_t *lb_hpack_write_status(struct lb_hpack_writer *writer, uint8_t *out, uint32_t status);

/* The name is in lower case. Needs name_length + value_length + LB_HPACK_WRITE_ROOM bytes. Returns the byte behind what was written. */
uint8_t *lb_hpack_write(struct lb_hpack_writer *writer, uint8_t *out, const char *name, uint32_t name_length, const char *value,
                        uint32_t value_length, enum lb_hpack_keeping keeping);

#endif
