/* One direction of a session or an exchange: what its destination did not take yet, and how it ends. */
#ifndef LB_FLOW_H
#define LB_FLOW_H

#include <stdint.h>

enum lb_hold { LB_HOLDS_NOTHING = 0, LB_HOLDS_BUFFER = 1, LB_HOLDS_PIPE = 2, LB_HOLDS_LARGE = 3 };

/* Only forward: OPEN, ENDING once the source has ended, then CLOSED; BROKEN from anywhere. */
enum lb_flow_end {
    LB_FLOW_OPEN = 0,
    LB_FLOW_ENDING = 1,  /* the source sent FIN: deliver what is held, then FIN */
    LB_FLOW_FAILING = 2, /* the source failed: deliver what is held, then reset */
    LB_FLOW_CLOSED = 3,  /* all delivered, FIN sent */
    LB_FLOW_BROKEN = 4,  /* a side failed: nothing more moves */
};

/* One direction. flow[LB_CLIENT] runs from the client, flow[LB_BACKEND] from the backend. */
struct lb_flow {
    uint32_t held;    /* buffer or pipe */
    uint32_t start;   /* first byte in the buffer */
    uint32_t pending; /* bytes held */
    uint8_t holds;    /* enum lb_hold */
    uint8_t end;      /* enum lb_flow_end */
    uint8_t streak;   /* reads in a row that filled the buffer; LB_STREAMING: splice */
    uint8_t pad;
};

#endif
