#include "ring_sends.h"

#include <errno.h>
#include <sys/mman.h>

enum { MEMORY_BYTES = LB_RING_SENDS * LB_RING_SEND_STRIDE };

int lb_ring_sends_open(struct lb_ring_sends *sends)
{
    void *memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return -ENOMEM;
    sends->memory = memory;
    sends->free_count = sends->quick_count = 0;
    for (uint32_t id = LB_RING_SENDS; id-- > 0;)
        lb_ring_sends_give(sends, (uint16_t)id);
    return 0;
}

void lb_ring_sends_close(struct lb_ring_sends *sends)
{
    if (sends->memory)
        munmap(sends->memory, MEMORY_BYTES);
    sends->memory = NULL;
}
