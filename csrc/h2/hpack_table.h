/* The dynamic table of HPACK (RFC 7541 2.3.2 and 4), for both directions. In its block the fields' text grows up from the front,
 * oldest first, and their records grow down from the back, newest first; when the two meet, what is still in the table moves apart. */
#ifndef LB_HPACK_TABLE_H
#define LB_HPACK_TABLE_H

#include "hpack_memory.h"

enum {
    LB_HPACK_TABLE_BYTES = 4096, /* as RFC 7541 4.1 counts: the default, and the most that we use in either direction */
    LB_HPACK_ENTRY_COST = 32,    /* RFC 7541 4.1 */
};

/* One field of the table. The text is name and value, one behind the other. */
struct lb_hpack_entry {
    uint16_t at; /* in the block */
    uint16_t name_length;
    uint16_t value_length;
    uint16_t hash; /* the writer's, of name and value */
};

struct lb_hpack_table {
    struct lb_hpack_memory *memory;
    struct lb_hpack_block block;
    uint16_t text_begin; /* bytes into the block */
    uint16_t text_end;
    uint16_t newest; /* records into the block */
    uint16_t count;  /* fields */
    uint16_t used;   /* as RFC 7541 4.1 counts */
    uint16_t limit;
};

/* Takes no memory before the first field. */
void lb_hpack_table_open(struct lb_hpack_table *table, struct lb_hpack_memory *memory);
void lb_hpack_table_close(struct lb_hpack_table *table);

/* index: 0 for the newest, below count. Valid until the next insertion. */
const struct lb_hpack_entry *lb_hpack_table_at(const struct lb_hpack_table *table, uint32_t index);
const char *lb_hpack_table_text(const struct lb_hpack_table *table, const struct lb_hpack_entry *entry);

/* Evict down to this many bytes, at most LB_HPACK_TABLE_BYTES. */
void lb_hpack_table_resize(struct lb_hpack_table *table, uint32_t limit);

/* See that a field with so many bytes of name and value can be inserted; at most LB_HPACK_TABLE_BYTES. -ENOMEM: no block was left. */
__attribute__((warn_unused_result)) int lb_hpack_table_reserve(struct lb_hpack_table *table, uint32_t text);

/* A field larger than the table empties it, and that is no error (RFC 7541 4.4). -ENOMEM: no block was left, nothing has changed. The
 * text may not lie in the table itself. */
__attribute__((warn_unused_result)) int lb_hpack_table_insert(struct lb_hpack_table *table, const char *name,
                                                              uint32_t name_length, const char *value, uint32_t value_length,
                                                              uint16_t hash);

#endif
