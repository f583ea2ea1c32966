/* How far a socket is with what it sends. */
#ifndef LB_PROGRESS_H
#define LB_PROGRESS_H

#include <stdint.h>

struct lb_progress {
    uint64_t queued; /* bytes that were ever queued to be sent */
    uint64_t acked;
    int is_dead; /* reset, or over on both sides */
};

/* 0, or -errno. Acknowledgements that come meanwhile make `queued` less, never more. */
int lb_progress_ask(int fd, struct lb_progress *progress);

/* What was ever queued, exactly: nothing was acknowledged meanwhile. 0, or -errno. */
int lb_progress_queued(int fd, uint64_t *queued);

#endif
