/* Buffers for bytes that one side sent and the other does not take yet. Held only while there are such bytes. */
#ifndef LB_BUFFER_POOL_H
#define LB_BUFFER_POOL_H

#include "slab.h"

enum {
    LB_BUFFER_BYTES = 65536,
    LB_LARGE_BYTES = 262144, /* of those for large heads, of which there are few */
};

/* Memory of buffers that came back is given to the system when a second has passed without their being needed: those at the bottom of the
 * stack of free ones. To give each back at once would cost a system call and a page fault for every response, where many are held. */
struct lb_buffer_pool {
    struct lb_slab slab;
    uint32_t warm;   /* so many keep their memory, needed or not */
    uint32_t bare;   /* free ones at the bottom of the stack that have none */
    uint32_t spared; /* free ones that nobody has needed since the last look */
    uint64_t due_ms; /* of the next look; 0: there is nothing to give back */
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

/* Give back what was not needed for a second, some of it a call; in each turn of the loop. */
void lb_buffer_pool_trim(struct lb_buffer_pool *pool, uint64_t now_ms);

/* Milliseconds until the next look; -1: there is nothing to look at. */
int lb_buffer_pool_wait(const struct lb_buffer_pool *pool, uint64_t now_ms);

#endif
