#include "ring.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
    ENTRIES = 1024,     /* queued at once; more are submitted in between */
    COMPLETIONS = 8192, /* untold at once; the kernel keeps what goes beyond that */
};

static const uint8_t operations[] = {LB_OP_RECV, LB_OP_SEND, LB_OP_POLL, LB_OP_CANCEL, LB_OP_CLOSE};

static int call(int fd, unsigned operation, const void *argument, unsigned count)
{
    return syscall(LB_SYS_RING_REGISTER, fd, operation, argument, count) < 0 ? -errno : 0;
}

static size_t queues_bytes(const struct lb_ring_params *params)
{
    size_t sq = params->sq.array + params->sq_entries * sizeof(uint32_t);
    size_t cq = params->cq.cqes + params->cq_entries * sizeof(struct lb_cqe);
    return sq > cq ? sq : cq;
}

static void *map(int fd, size_t bytes, off_t at)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, at);
    return memory == MAP_FAILED ? NULL : memory;
}

static int map_queues(struct lb_ring *ring, const struct lb_ring_params *params)
{
    ring->queues_bytes = queues_bytes(params);
    ring->sq_entries = params->sq_entries;
    ring->queues = map(ring->fd, ring->queues_bytes, LB_RING_QUEUES_AT);
    ring->sqe = map(ring->fd, params->sq_entries * sizeof *ring->sqe, LB_RING_SQES_AT);
    if (!ring->queues || !ring->sqe)
        return -ENOMEM;
    char *base = ring->queues;
    ring->sq_head = (uint32_t *)(void *)(base + params->sq.head);
    ring->sq_shared_tail = (uint32_t *)(void *)(base + params->sq.tail);
    ring->cq_head = (uint32_t *)(void *)(base + params->cq.head);
    ring->cq_tail = (uint32_t *)(void *)(base + params->cq.tail);
    ring->cqe = (struct lb_cqe *)(void *)(base + params->cq.cqes);
    ring->cq_mask = params->cq_entries - 1;
    uint32_t *order = (uint32_t *)(void *)(base + params->sq.array);
    for (uint32_t i = 0; i < params->sq_entries; i++)
        order[i] = i;
    return 0;
}

int lb_ring_open(struct lb_ring *ring)
{
    const uint32_t needed = LB_RING_SINGLE_MAPPING | LB_RING_NO_DROP | LB_RING_EXTENDED_WAIT | LB_RING_CAN_SKIP;
    struct lb_ring_params params = {
        .cq_entries = COMPLETIONS,
        .flags = LB_RING_CQ_SIZE | LB_RING_DISABLED | LB_RING_SUBMIT_ALL | LB_RING_SINGLE_ISSUER | LB_RING_DEFER_TASK_RUN,
    };
    *ring = (struct lb_ring){.fd = (int)syscall(LB_SYS_RING_SETUP, ENTRIES, &params)};
    if (ring->fd < 0) {
        int error = errno;
        ring->fd = -1;
        return -error;
    }
    int error = (params.features & needed) == needed ? map_queues(ring, &params) : -EINVAL;
    if (error)
        lb_ring_close(ring);
    return error;
}

int lb_ring_put_buffers(struct lb_ring *ring, struct lb_ring_buffer *buffers, uint32_t count)
{
    struct lb_ring_buffers_argument argument = {.address = (uintptr_t)buffers, .entries = count};
    return call(ring->fd, LB_RING_PUT_BUFFERS, &argument, 1);
}

int lb_ring_enable(struct lb_ring *ring)
{
    enum { COUNT = sizeof operations };
    struct lb_ring_restriction restrictions[COUNT + 1] = {{0}};
    for (unsigned i = 0; i < COUNT; i++)
        restrictions[i] = (struct lb_ring_restriction){.kind = LB_RING_RESTRICT_OP, .what = operations[i]};
    restrictions[COUNT] =
        (struct lb_ring_restriction){.kind = LB_RING_RESTRICT_FLAGS, .what = LB_SQE_SELECT_BUFFER | LB_SQE_SKIP_SUCCESS};
    int error = call(ring->fd, LB_RING_RESTRICT, restrictions, COUNT + 1);
    return error ? error : call(ring->fd, LB_RING_ENABLE, NULL, 0);
}

void lb_ring_close(struct lb_ring *ring)
{
    if (ring->fd < 0)
        return;
    if (ring->queues)
        munmap(ring->queues, ring->queues_bytes);
    if (ring->sqe)
        munmap(ring->sqe, ring->sq_entries * sizeof *ring->sqe);
    close(ring->fd);
    ring->fd = -1;
}

static int enter(struct lb_ring *ring, unsigned least, const struct lb_ring_wait *wait)
{
    uint32_t count = ring->sq_tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE);
    unsigned flags = LB_RING_GET_EVENTS | (wait ? LB_RING_EXTENDED : 0);
    long done = syscall(LB_SYS_RING_ENTER, ring->fd, count, least, flags, wait, wait ? sizeof *wait : 0);
    return done < 0 ? -errno : 0;
}

struct lb_sqe *lb_ring_next(struct lb_ring *ring)
{
    while (ring->sq_tail - __atomic_load_n(ring->sq_head, __ATOMIC_ACQUIRE) >= ring->sq_entries)
        (void)lb_ring_submit(ring); /* the kernel takes each, whatever comes of it */
    struct lb_sqe *sqe = &ring->sqe[ring->sq_tail & (ring->sq_entries - 1)];
    memset(sqe, 0, sizeof *sqe);
    __atomic_store_n(ring->sq_shared_tail, ++ring->sq_tail, __ATOMIC_RELEASE);
    return sqe;
}

int lb_ring_submit(struct lb_ring *ring)
{
    return enter(ring, 0, NULL);
}

int lb_ring_wait(struct lb_ring *ring, int timeout_ms)
{
    struct timespec timeout = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};
    struct lb_ring_wait wait = {.timeout = (uintptr_t)&timeout};
    int error = enter(ring, 1, timeout_ms < 0 ? NULL : &wait);
    return error == -ETIME ? 0 : error;
}
