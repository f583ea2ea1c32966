/* Copies of what is being sent: the kernel needs the bytes until it says that a send is done. A fixed number of them. */
#ifndef LB_RING_SENDS_H
#define LB_RING_SENDS_H

#include <stddef.h>
#include <stdint.h>

enum {
    LB_RING_SENDS = 1024,
    LB_RING_SEND_BYTES = 4096,                     /* 4 MiB together; what is longer is sent by a call */
    LB_RING_SEND_STRIDE = LB_RING_SEND_BYTES + 64, /* so that they do not all want the same lines of a cache */
};

#define LB_RING_NO_SEND UINT16_MAX

struct lb_ring_send {
    int fd;
    uint32_t generation; /* of the socket, which may be closed meanwhile */
    uint32_t place;      /* in the ring's queue */
    uint16_t start;      /* bytes that are gone */
    uint16_t end;
    uint8_t
        insists;   /* it waits for room, and its end is told; else it is over with its submission, and only told of if it fails */
    uint8_t error; /* errno that such a one came to */
    uint8_t listed; /* it is in quick, from where its place is given back ... */
    uint8_t done;   /* ... when this is set */
};

struct lb_ring_sends {
    struct lb_ring_send at[LB_RING_SENDS];
    uint16_t free[LB_RING_SENDS];  /* the warmest on top */
    uint16_t quick[LB_RING_SENDS]; /* those that do not insist, and are not known to be done */
    uint32_t free_count;
    uint32_t quick_count;
    char *memory;
};

/* 0 or -ENOMEM. */
__attribute__((warn_unused_result)) int lb_ring_sends_open(struct lb_ring_sends *sends);
void lb_ring_sends_close(struct lb_ring_sends *sends);

/* A place, or LB_RING_NO_SEND. */
static inline uint16_t lb_ring_sends_take(struct lb_ring_sends *sends)
{
    return sends->free_count ? sends->free[--sends->free_count] : LB_RING_NO_SEND;
}

static inline void lb_ring_sends_give(struct lb_ring_sends *sends, uint16_t id)
{
    sends->free[sends->free_count++] = id;
}

static inline char *lb_ring_sends_bytes(const struct lb_ring_sends *sends, uint16_t id)
{
    return sends->memory + (size_t)id * LB_RING_SEND_STRIDE;
}

static inline uint32_t lb_ring_sends_under_way(const struct lb_ring_sends *sends)
{
    return LB_RING_SENDS - sends->free_count;
}

#endif
