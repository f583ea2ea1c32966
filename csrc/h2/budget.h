/* A budget for what costs a peer little and us work: frames that ask for nothing, resets, settings, pings (RFC 9113 10.5). */
#ifndef LB_BUDGET_H2_H
#define LB_BUDGET_H2_H

#include <stdint.h>

/* As nghttp2 1.57 and nginx 1.25 bound resets of streams: a burst, and a rate that it recovers at. */
enum {
    LB_H2_BURST = 1000,
    LB_H2_PER_SECOND = 33,
    LB_H2_BYTES_A_FRAME = 1024, /* of a body: so much data moved earns one cheap frame */
};

struct lb_h2_budget {
    uint32_t left;     /* in thousandths of a frame */
    uint32_t moved;    /* bytes that have earned nothing yet */
    uint64_t since_ms; /* the time is used up to here */
};

void lb_h2_budget_open(struct lb_h2_budget *budget, uint64_t now_ms);

/* One more. -1: over the budget, ENHANCE_YOUR_CALM. */
__attribute__((warn_unused_result)) int lb_h2_budget_spend(struct lb_h2_budget *budget, uint64_t now_ms);

/* So many bytes of bodies were moved: peers that move data send WINDOW_UPDATE and PING for it (grpcio 1.85.1: three a unary call). */
void lb_h2_budget_earn(struct lb_h2_budget *budget, uint32_t bytes);

#endif
