#include "gather.h"

enum {
    SPAN_US = 2000,  /* of time that is looked at as one */
    LEAST_HEARD = 3, /* in a pause, that it pays */
    MOST_US = 100,   /* to which the kernel adds its slack, usually 50 */
    SHARE = 16,      /* of what responses take anyway */
};

static uint32_t pause_of(const struct lb_gather *gather, uint64_t passed_us)
{
    if (!gather->heard)
        return 0;
    uint64_t pause_us = gather->waited_us / gather->heard / SHARE;
    if (pause_us > MOST_US)
        pause_us = MOST_US;
    return gather->heard * 2 * pause_us >= LEAST_HEARD * passed_us ? (uint32_t)pause_us : 0;
}

uint32_t lb_gather_us(struct lb_gather *gather, uint64_t now_us)
{
    uint64_t passed_us = now_us - gather->began_us;
    if (passed_us >= SPAN_US)
        *gather = (struct lb_gather){.began_us = now_us, .pause_us = pause_of(gather, passed_us)};
    return gather->pause_us;
}
