/* Picking without the proxy: a process that has the segment mapped asks for a backend and says what came of it, in a section of its
 * own, so that its sessions count beside the workers'. */
#ifndef LB_PICKER_H
#define LB_PICKER_H

#include "why.h"

struct lb_picker {
    struct lb_shm shm;
    uint32_t section;
    uint8_t busy;              /* a thread is at it */
    struct lb_cursor *cursors; /* by pool */
};

/* What was picked: to be given back by lb_picker_release, once. */
struct lb_picked {
    uint64_t at_us;
    uint64_t generation;
    uint32_t backend; /* row */
    uint32_t pool;
    uint32_t cost;
    uint32_t decision;
};

/* Take a free section of the attached segment: 0, -EUSERS when all are taken, or -ENOMEM. */
__attribute__((warn_unused_result)) int lb_picker_join(struct lb_picker *picker, const struct lb_shm *shm, uint64_t seed);

/* Give it back with all that is still held. */
void lb_picker_leave(struct lb_picker *picker);

/* After a fork, in the child: forget the section, which stays the parent's. */
void lb_picker_forget(struct lb_picker *picker);

/* Who picks: by a key for maglev, by a text for prefix (prefixes.h), of this cost. */
struct lb_picker_wish {
    uint64_t key;
    const struct lb_blocks *blocks; /* NULL: none */
    uint32_t pool;
    uint32_t cost;
};

/* Who picks by these bytes: a key, or for prefix, where the pool's `hash` says json, a text. blocks is the caller's, for as long as the
 * wish is used. */
void lb_picker_by(const struct lb_picker *picker, const void *bytes, size_t count, struct lb_picker_wish *wish,
                  struct lb_blocks *blocks);

/* Pick as an exchange would, and be charged: 0, or -ENOENT (no such pool) or -EAGAIN (nobody can take it). Any thread. */
__attribute__((warn_unused_result)) int lb_picker_pick(struct lb_picker *picker, const struct lb_picker_wish *wish,
                                                       struct lb_picked *picked);

/* end: what came of it, and what that says of the backend (ending.h: enum lb_says). */
void lb_picker_release(struct lb_picker *picker, const struct lb_picked *picked, enum lb_end end);

/* The control plane: free the section of a process that is gone. */
void lb_picker_bury(const struct lb_shm *shm, uint32_t section);

#endif
