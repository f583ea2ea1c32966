/* An io_uring: its two queues. It may receive, send, poll, cancel and close, and nothing else: the kernel holds it to that. One thread's own. */
#ifndef LB_RING_H
#define LB_RING_H

#include <stddef.h>

#include "ring_abi.h"

struct lb_ring {
    int fd;           /* -1: not open */
    uint32_t sq_tail; /* what was queued; what the kernel has taken is at *sq_head */
    uint32_t sq_entries;
    uint32_t cq_mask;
    uint32_t *sq_head;
    uint32_t *sq_shared_tail;
    uint32_t *cq_head;
    uint32_t *cq_tail;
    struct lb_sqe *sqe;
    struct lb_cqe *cqe;
    void *queues;
    size_t queues_bytes;
};

/* Set up, for the calling thread: 0, or -errno: EPERM or EACCES where it is forbidden, ENOSYS where there is none, EINVAL before Linux 6.1. */
__attribute__((warn_unused_result)) int lb_ring_open(struct lb_ring *ring);

/* Let it have this memory as buffers; before it is enabled. 0 or -errno. */
__attribute__((warn_unused_result)) int lb_ring_put_buffers(struct lb_ring *ring, struct lb_ring_buffer *buffers, uint32_t count);

/* Hold it to its few operations, and begin: 0 or -errno. */
__attribute__((warn_unused_result)) int lb_ring_enable(struct lb_ring *ring);
void lb_ring_close(struct lb_ring *ring);

/* The next place of the queue, cleared. What was queued goes to the kernel at once where the queue is full. */
struct lb_sqe *lb_ring_next(struct lb_ring *ring);

/* Give the kernel what is queued, and have it do what it has put off, without waiting: 0 or -errno. */
int lb_ring_submit(struct lb_ring *ring);

/* The same, and wait until something is done. timeout_ms: -1: for as long as it takes. */
int lb_ring_wait(struct lb_ring *ring, int timeout_ms);

/* Has the kernel not been given what was queued at this place yet? */
static inline int lb_ring_is_queued(const struct lb_ring *ring, uint32_t place)
{
    return (int32_t)(place - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE)) >= 0;
}

/* What is done: the first that nobody took, or NULL; and to take it. */
static inline const struct lb_cqe *lb_ring_first(const struct lb_ring *ring)
{
    uint32_t head = *ring->cq_head;
    return head == __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) ? NULL : &ring->cqe[head & ring->cq_mask];
}

/* What is done with this word and not taken; NULL: nothing. */
static inline struct lb_cqe *lb_ring_find(const struct lb_ring *ring, uint64_t word)
{
    uint32_t end = __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE);
    for (uint32_t at = *ring->cq_head; at != end; at++)
        if (ring->cqe[at & ring->cq_mask].user_data == word)
            return &ring->cqe[at & ring->cq_mask];
    return NULL;
}

static inline void lb_ring_took(struct lb_ring *ring)
{
    __atomic_store_n(ring->cq_head, *ring->cq_head + 1, __ATOMIC_RELEASE);
}

/* How many are there that nobody took? */
static inline uint32_t lb_ring_untaken(const struct lb_ring *ring)
{
    return __atomic_load_n(ring->cq_tail, __ATOMIC_ACQUIRE) - *ring->cq_head;
}

#endif
