/* Buffers for bytes that one side sent and the other does not take yet. Held only while there are such bytes. */
#ifndef LB_BUFFER_POOL_H
#define LB_BUFFER_POOL_H

#include "slab.h"

enum {
    LB_BUFFER_BYTES = 65536,
    LB_LARGE_BYTES = 262144, /* of those for large heads, of which there are few */
};

struct lb_buffer_pool {
    struct lb_slab slab;
    uint32_t warm; /* buffers whose memory is kept when they come back; more is given back to the system */
};

/* bytes: of a buffer, a multiple of the page size. */
__attribute__((warn_unused_result)) int lb_buffer_pool_open(struct lb_buffer_pool *pool, size_t bytes, uint32_t capacity,
                                                            uint32_t warm);
void lb_buffer_pool_close(struct lb_buffer_pool *pool);

/* Is one left? Asked before a read, whose bytes may need it. */
int lb_buffer_pool_ready(const struct lb_buffer_pool *pool);
uint32_t lb_buffer_take(struct lb_buffer_pool *pool); /* only when ready */
void lb_buffer_give(struct lb_buffer_pool *pool, uint32_t buffer);
char *lb_buffer_at(const struct lb_buffer_pool *pool, uint32_t buffer);

#endif
