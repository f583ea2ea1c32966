/* What each way to end means: the one table of that. */
#ifndef LB_ENDING_H
#define LB_ENDING_H

#include "shm.h"

/* What it says of the backend's health, to whoever has no closer look at it (table/picker.h). */
enum lb_says { LB_SAYS_NOTHING, LB_SAYS_GOOD, LB_SAYS_UNREACHABLE, LB_SAYS_FAILED };

/* Is the client reset, so that it cannot take what it got for the whole? */
enum lb_resets {
    LB_RESETS_NEVER,
    LB_RESETS_ALWAYS,      /* a session; a client that speaks HTTP as in the next */
    LB_RESETS_UNDELIVERED, /* if there is something that it did not get */
};

/* Offsets are in struct lb_worker_row. */
struct lb_ending {
    uint16_t counter; /* of sessions and of connections that speak HTTP: why they were closed or refused, ... */
    uint16_t whole;   /* ... and which of both they were */
    uint16_t request; /* of an exchange that was under way */
    uint8_t record;   /* enum lb_end, as the access log has it */
    uint8_t failure;  /* for want of a backend or of something here, or by a backend that broke off: never left out of the log */
    uint8_t says;     /* enum lb_says */
    uint8_t resets;   /* enum lb_resets */
};

extern const struct lb_ending lb_endings[LB_ENDINGS];

/* A session or a connection was closed or refused: that, and why. */
void lb_ending_count(struct lb_worker_row *row, enum lb_end end);

/* So an exchange ended that was active. */
void lb_ending_count_request(struct lb_worker_row *row, enum lb_end end);

/* Did it end before it had a backend? */
int lb_ending_is_refusal(enum lb_end end);

#endif
