#include "schedule.h"

#include <errno.h>
#include <stdlib.h>

/* A member's next turn: due at (2 * taken + 1) / (2 * weight) of the cycle. */
struct turn {
    uint32_t taken;
    uint32_t weight;
    uint32_t at; /* index into members: ties keep the members' order */
};

static uint32_t common_divisor(uint32_t a, uint32_t b)
{
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The weight of one member after division and, if need be, scaling into the room. */
static uint32_t share(uint32_t weight, uint32_t divisor, uint64_t sum, uint32_t count, uint32_t room)
{
    weight /= divisor;
    if (sum <= room)
        return weight;
    uint64_t scaled = (uint64_t)weight * (room - count) / sum;
    return (uint32_t)scaled + 1;
}

static int before(const struct turn *a, const struct turn *b)
{
    uint64_t mine = (2 * (uint64_t)a->taken + 1) * b->weight;
    uint64_t other = (2 * (uint64_t)b->taken + 1) * a->weight;
    return mine < other || (mine == other && a->at < b->at);
}

static void sift_down(struct turn *heap, uint32_t count, uint32_t at)
{
    struct turn moving = heap[at];
    for (;;) {
        uint32_t child = 2 * at + 1;
        if (child >= count)
            break;
        if (child + 1 < count && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &moving))
            break;
        heap[at] = heap[child];
        at = child;
    }
    heap[at] = moving;
}

/* A worker that was overtaken may still read this array: no plain store. */
static void set(uint32_t *slots, uint64_t at, uint32_t member)
{
    __atomic_store_n(&slots[at], member, __ATOMIC_RELAXED);
}

int64_t lb_schedule_build(const uint32_t *members, const uint32_t *weights, uint32_t count, uint32_t *slots, uint32_t room)
{
    uint32_t divisor = 0;
    uint64_t sum = 0;
    for (uint32_t i = 0; i < count; i++)
        divisor = common_divisor(weights[i], divisor);
    for (uint32_t i = 0; i < count; i++)
        sum += weights[i] / divisor;
    if (sum == count) {
        for (uint32_t i = 0; i < count; i++)
            set(slots, i, members[i]);
        return count;
    }

    struct turn *heap = malloc(count * sizeof *heap);
    if (!heap)
        return -ENOMEM;
    uint64_t total = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t weight = share(weights[i], divisor, sum, count, room);
        heap[i] = (struct turn){.weight = weight, .at = i};
        total += weight;
    }
    for (uint32_t i = count / 2; i-- > 0;)
        sift_down(heap, count, i);
    for (uint64_t slot = 0; slot < total; slot++) {
        set(slots, slot, members[heap[0].at]);
        heap[0].taken++;
        sift_down(heap, count, 0);
    }
    free(heap);
    return (int64_t)total;
}
