#include "ring_buffers.h"

#include <errno.h>
#include <sys/mman.h>

enum { RING_BYTES = LB_RING_BUFFERS * sizeof(struct lb_ring_buffer), MEMORY_BYTES = LB_RING_BUFFERS * LB_RING_BUFFER_STRIDE };
enum { AT_FIRST = 64 }; /* buffers that the kernel has */

static void *map(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

int lb_ring_buffers_open(struct lb_ring_buffers *buffers, struct lb_ring *ring)
{
    *buffers = (struct lb_ring_buffers){.ring = map(RING_BYTES), .memory = map(MEMORY_BYTES)};
    if (!buffers->ring || !buffers->memory)
        return -ENOMEM;
    int error = lb_ring_put_buffers(ring, buffers->ring, LB_RING_BUFFERS);
    for (uint16_t id = LB_RING_BUFFERS; id-- > 0;)
        lb_ring_buffers_give(buffers, id);
    buffers->wanted = AT_FIRST;
    lb_ring_buffers_refill(buffers, 0);
    return error;
}

void lb_ring_buffers_close(struct lb_ring_buffers *buffers)
{
    if (buffers->ring)
        munmap(buffers->ring, RING_BYTES);
    if (buffers->memory)
        munmap(buffers->memory, MEMORY_BYTES);
    *buffers = (struct lb_ring_buffers){0};
}

static void put(struct lb_ring_buffers *buffers, uint16_t id)
{
    struct lb_ring_buffer *place = &buffers->ring[buffers->tail++ & (LB_RING_BUFFERS - 1)];
    place->address = (uintptr_t)lb_ring_buffers_at(buffers, id);
    place->length = LB_RING_BUFFER_BYTES;
    place->id = id;
}

void lb_ring_buffers_refill(struct lb_ring_buffers *buffers, uint32_t untold)
{
    if (buffers->lacked)
        buffers->wanted = buffers->wanted < LB_RING_BUFFERS / 2 ? (uint16_t)(2 * buffers->wanted) : LB_RING_BUFFERS;
    buffers->lacked = 0;
    if (buffers->given >= buffers->wanted + untold || !buffers->free_count)
        return;
    for (; buffers->given < buffers->wanted + untold && buffers->free_count; buffers->given++)
        put(buffers, buffers->free[--buffers->free_count]);
    __atomic_store_n(&buffers->ring->tail, buffers->tail, __ATOMIC_RELEASE);
}
