/* Memory that the kernel receives into, whoever's bytes they are: a fixed number of buffers, in its hands until bytes lie in them. */
#ifndef LB_RING_BUFFERS_H
#define LB_RING_BUFFERS_H

#include "ring.h"

enum {
    LB_RING_BUFFERS = 1024,
    LB_RING_BUFFER_BYTES = 4096,                       /* 4 MiB together */
    LB_RING_BUFFER_STRIDE = LB_RING_BUFFER_BYTES + 64, /* so that they do not all want the same lines of a cache */
};

#define LB_RING_NO_BUFFER UINT16_MAX

struct lb_ring_filled {
    uint16_t count; /* bytes that came */
    uint16_t next;  /* of the same socket, later; LB_RING_NO_BUFFER: none */
};

struct lb_ring_buffers {
    struct lb_ring_buffer *ring; /* shared with the kernel */
    char *memory;
    uint16_t tail; /* of the ring */
    struct lb_ring_filled filled[LB_RING_BUFFERS];
};

/* All are the kernel's: 0 or -errno. */
__attribute__((warn_unused_result)) int lb_ring_buffers_open(struct lb_ring_buffers *buffers, struct lb_ring *ring);
void lb_ring_buffers_close(struct lb_ring_buffers *buffers);

/* Back to the kernel. */
void lb_ring_buffers_give(struct lb_ring_buffers *buffers, uint16_t id);

static inline char *lb_ring_buffers_at(const struct lb_ring_buffers *buffers, uint16_t id)
{
    return buffers->memory + (size_t)id * LB_RING_BUFFER_STRIDE;
}

#endif
