/* How long a worker pauses before it waits, so that more has come on shared connections when it looks. Without a pause each response of
 * a busy HTTP/2 backend wakes the worker, and costs a read and a write of its own; with one they share them. The idea is that of interrupt
 * moderation in network drivers. */
#ifndef LB_GATHER_H
#define LB_GATHER_H

#include <stdint.h>

/* What was seen since began_us; zero at first. */
struct lb_gather {
    uint64_t began_us;
    uint64_t waited_us; /* by all that were heard, for their responses */
    uint32_t heard;
    uint32_t pause_us; /* from what was seen before that */
};

/* A response on a shared connection has begun, so long after its request went out. */
static inline void lb_gather_note(struct lb_gather *gather, uint32_t took_us)
{
    gather->heard++;
    gather->waited_us += took_us;
}

/* How long to pause now, us; 0: not at all. */
uint32_t lb_gather_us(struct lb_gather *gather, uint64_t now_us);

#endif
