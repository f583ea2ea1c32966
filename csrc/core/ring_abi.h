/* What a process and the kernel share of an io_uring (io_uring_setup(2), io_uring_enter(2)), as far as it is used here. Written down so that
 * the engine builds where the kernel's headers are older; these layouts and numbers are the kernel's promise. */
#ifndef LB_RING_ABI_H
#define LB_RING_ABI_H

#include <stdint.h>

enum { LB_SYS_RING_SETUP = 425, LB_SYS_RING_ENTER = 426, LB_SYS_RING_REGISTER = 427 };

struct lb_sqe {
    uint8_t opcode;
    uint8_t flags;
    uint16_t ioprio;
    int32_t fd;
    uint64_t offset;
    uint64_t address;
    uint32_t length;
    uint32_t op_flags; /* of the operation: MSG_..., POLL..., of a cancel */
    uint64_t user_data;
    uint16_t group; /* of provided buffers */
    uint16_t personality;
    int32_t file_index;
    uint64_t more[2];
};

struct lb_cqe {
    uint64_t user_data;
    int32_t result;
    uint32_t flags;
};

struct lb_ring_params {
    uint32_t sq_entries, cq_entries, flags, sq_thread_cpu, sq_thread_idle, features, wq_fd, reserved[3];
    struct {
        uint32_t head, tail, mask, entries, flags, dropped, array, reserved;
        uint64_t user_address;
    } sq;
    struct {
        uint32_t head, tail, mask, entries, overflow, cqes, flags, reserved;
        uint64_t user_address;
    } cq;
};

struct lb_ring_buffer {
    uint64_t address;
    uint32_t length;
    uint16_t id;
    uint16_t tail; /* in the first: of the whole ring of buffers */
};

struct lb_ring_buffers_argument {
    uint64_t address;
    uint32_t entries;
    uint16_t group;
    uint16_t flags;
    uint64_t reserved[3];
};

struct lb_ring_restriction {
    uint16_t kind;
    uint8_t what;
    uint8_t reserved[13];
};

struct lb_ring_wait {
    uint64_t signals;
    uint32_t signals_size;
    uint32_t least_us;
    uint64_t timeout; /* address of struct timespec, 64 bits each */
};

_Static_assert(sizeof(struct lb_sqe) == 64 && sizeof(struct lb_cqe) == 16 && sizeof(struct lb_ring_params) == 120,
               "the kernel's");
_Static_assert(sizeof(struct lb_ring_buffer) == 16 && sizeof(struct lb_ring_buffers_argument) == 40, "the kernel's");
_Static_assert(sizeof(struct lb_ring_restriction) == 16 && sizeof(struct lb_ring_wait) == 24, "the kernel's");

/* io_uring_setup */
enum {
    LB_RING_CQ_SIZE = 1 << 3,
    LB_RING_DISABLED = 1 << 6,
    LB_RING_SUBMIT_ALL = 1 << 7,
    LB_RING_SINGLE_ISSUER = 1 << 12,
    LB_RING_DEFER_TASK_RUN = 1 << 13,
};
enum { LB_RING_SINGLE_MAPPING = 1 << 0, LB_RING_NO_DROP = 1 << 1, LB_RING_EXTENDED_WAIT = 1 << 8, LB_RING_CAN_SKIP = 1 << 11 };
enum { LB_RING_QUEUES_AT = 0, LB_RING_SQES_AT = 0x10000000 };

/* io_uring_enter */
enum { LB_RING_GET_EVENTS = 1 << 0, LB_RING_EXTENDED = 1 << 3 };

/* io_uring_register */
enum { LB_RING_RESTRICT = 11, LB_RING_ENABLE = 12, LB_RING_PUT_BUFFERS = 22 };
enum { LB_RING_RESTRICT_OP = 1, LB_RING_RESTRICT_FLAGS = 2 };

enum { LB_OP_POLL = 6, LB_OP_CANCEL = 14, LB_OP_OPEN = 18, LB_OP_CLOSE = 19, LB_OP_SEND = 26, LB_OP_RECV = 27 };
enum { LB_SQE_SELECT_BUFFER = 1 << 5, LB_SQE_SKIP_SUCCESS = 1 << 6 };
enum { LB_RECV_MULTISHOT = 1 << 1 };
enum { LB_CQE_BUFFER = 1 << 0, LB_CQE_MORE = 1 << 1, LB_CQE_BUFFER_SHIFT = 16 };

#endif
