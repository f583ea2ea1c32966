/* Memory that the kernel receives into, whoever's bytes they are: a fixed number of buffers. It has as many of them as it was seen to need at
 * once, those that were used last: so few pages and lines of a cache are in use while few bytes are. */
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
    uint16_t tail;   /* of the ring */
    uint16_t given;  /* in the kernel's hands */
    uint16_t wanted; /* that it should have there */
    uint16_t free_count;
    uint8_t lacked;                 /* the kernel had none left when it wanted one */
    uint16_t free[LB_RING_BUFFERS]; /* in nobody's hands; the warmest on top */
    struct lb_ring_filled filled[LB_RING_BUFFERS];
};

/* 0 or -errno. */
__attribute__((warn_unused_result)) int lb_ring_buffers_open(struct lb_ring_buffers *buffers, struct lb_ring *ring);
void lb_ring_buffers_close(struct lb_ring_buffers *buffers);

/* It is read: its memory may be used again. */
static inline void lb_ring_buffers_give(struct lb_ring_buffers *buffers, uint16_t id)
{
    buffers->free[buffers->free_count++] = id;
}

/* Let the kernel have as many as it should have, beside those that it may have used already, of which so many completions tell. Before it
 * is entered. */
void lb_ring_buffers_refill(struct lb_ring_buffers *buffers, uint32_t untold);

/* The kernel has put bytes into one. */
static inline void lb_ring_buffers_took(struct lb_ring_buffers *buffers)
{
    buffers->given--;
}

/* It had none left when it wanted one: it is to have more. Are there any? */
static inline int lb_ring_buffers_lack(struct lb_ring_buffers *buffers)
{
    buffers->lacked = 1;
    return buffers->free_count > 0;
}

static inline char *lb_ring_buffers_at(const struct lb_ring_buffers *buffers, uint16_t id)
{
    return buffers->memory + (size_t)id * LB_RING_BUFFER_STRIDE;
}

#endif
