/* What the programs of the offload and user space share, and the programs. */
#ifndef LB_OFFLOAD_PROGRAMS_H
#define LB_OFFLOAD_PROGRAMS_H

#include <stddef.h>
#include <stdint.h>

/* One direction, in memory that both map. The program forwards what comes only while user space has passed on all that was handed
 * to it before (passed == taken), so that nothing overtakes. */
struct lb_slot_lane {
    /* writer: the program, which runs under its socket's lock */
    uint64_t forwarded; /* bytes, to the peer */
    uint64_t passed;    /* bytes, to user space */
    uint64_t messages;  /* skbs that were forwarded */
    uint64_t moved_ns;  /* monotonic: when bytes were forwarded last */
    uint64_t due_taken; /* `taken` when `due` was begun */
    uint32_t next;      /* sequence number of the next byte */
    uint32_t due;       /* where the peer's write_seq will be once all that was forwarded is queued there */
    uint32_t known;     /* `next` is right */
    uint32_t broken;    /* bytes were lost: the session must be reset */
    uint8_t pad0[8];
    /* writer: user space */
    uint64_t taken; /* bytes of `passed` that it has written to the peer */
    uint32_t open;  /* it may forward */
    /* writer: the program that finds a backend's socket (local_questions.c), before the lane is open */
    uint32_t mark; /* from the client: `due` when the backend's socket was found */
    uint32_t base; /* from the backend: the client's write_seq less the backend's, when all was passed on */
    uint8_t pad1[44];
};

_Static_assert(offsetof(struct lb_slot_lane, taken) == 64, "each writer has its own cache line");
_Static_assert(sizeof(struct lb_slot_lane) == 128, "whole cache lines");

/* What is known of a socket by its cookie. */
struct lb_slot {
    uint64_t peer; /* cookie */
    uint32_t lane;
    uint32_t generation;
};

/* In the ring: a direction has bytes for user space, or has broken. */
struct lb_slot_note {
    uint32_t lane;
    uint32_t generation;
};

struct lb_offload_maps {
    int sockets; /* SOCKHASH by cookie: the program sees to these */
    int slots;   /* HASH by cookie: struct lb_slot */
    int lanes;   /* ARRAY of struct lb_slot_lane, mapped */
    int notes;   /* RINGBUF of struct lb_slot_note */
};

/* The program that forwards: its descriptor, or -errno. why: in words, when the kernel refuses. */
__attribute__((warn_unused_result)) int lb_offload_load_verdict(const struct lb_offload_maps *maps, char *why, size_t room);

#endif
