/* What is asked of a pool: a backend, for whom, and how the choice came about. */
#ifndef LB_WISH_H
#define LB_WISH_H

#include <stddef.h>
#include <stdint.h>

#include "blocks.h"
#include "shm.h"

enum { LB_NONE = UINT32_MAX, LB_MAX_TRIED = 8 };

/* What is sent: only a response proves that a backend is not stopping, and only some requests may be lost (table/avoid.h). */
enum lb_sends { LB_SENDS_BYTES = 0, LB_SENDS_ONCE = 1, LB_SENDS_REPEATABLE = 2 };

/* Who asks for a backend. */
struct lb_wish {
    const uint32_t *tried; /* backends that this session or exchange has tried */
    uint32_t tried_count;
    uint32_t worker;
    uint32_t now_ms;                /* monotonic, low 32 bits */
    uint64_t key;                   /* hash of what maglev keeps together */
    const struct lb_blocks *blocks; /* what prefix goes by; NULL, or none in it: there is no such thing */
    uint8_t wary;                   /* some are to be passed over (table/avoid.h) */
    uint8_t datagrams;              /* it is for a udp session: its backend may never answer */
    uint8_t sends;                  /* enum lb_sends */
    struct lb_thought *thought;     /* what went through its head is written here; NULL: nobody asks */
};

/* How a decision came about: the first lines of a struct lb_decision. */
struct lb_thought {
    uint32_t candidate[2];
    float score[2];
    uint8_t why;     /* enum lb_why */
    uint8_t blocks;  /* of the text, for prefix */
    uint8_t matched; /* its first ones that one of the backends has had */
    uint8_t had;     /* ... and that the one that was chosen has */
    uint64_t end;    /* of the text that this one continues, which another backend served; 0: none */
};

#endif
