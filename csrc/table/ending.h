/* What each way to end means: the one table of that. */
#ifndef LB_ENDING_H
#define LB_ENDING_H

#include "shm.h"

/* Is the client reset, so that it cannot take what it got for the whole? */
enum lb_resets {
    LB_RESETS_NEVER,
    LB_RESETS_ALWAYS,
    LB_RESETS_UNDELIVERED, /* if there are bytes that it did not get */
};

struct lb_ending {
    uint16_t counter; /* offsets in struct lb_worker_row: why a session was closed or refused, ... */
    uint16_t whole;   /* ... and which of both it was */
    uint8_t record;   /* enum lb_end, as the access log has it */
    uint8_t failure; /* for want of a backend or of something here, or by a backend that broke off: never left out of the log */
    uint8_t fate; /* enum lb_fate: what it says of the backend */
    uint8_t resets; /* enum lb_resets */
};

extern const struct lb_ending lb_endings[LB_ENDINGS];

/* A session was closed or refused: that, and why. */
void lb_ending_count(struct lb_worker_row *row, enum lb_end end);

/* Did it end before it had a backend? */
int lb_ending_is_refusal(enum lb_end end);

#endif
