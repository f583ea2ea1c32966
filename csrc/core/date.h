/* The time of day as HTTP writes it. */
#ifndef LB_DATE_H
#define LB_DATE_H

#include <stdint.h>

/* Zero before its first use. One thread's own. */
struct lb_date {
    uint64_t unix_s; /* of the text */
    char text[32];
};

/* Now, "Sun, 06 Nov 1994 08:49:37 GMT". It holds until the next call. */
const char *lb_date_text(struct lb_date *date);

#endif
