/* The flight recorder: each section's last LB_DECISIONS picks, with what was compared and what came of them. Costs a line of memory a
 * pick; readable from any process, and from the segment of one that crashed. */
#ifndef LB_WHY_H
#define LB_WHY_H

#include "policy.h"

/* A pick to be remembered. */
struct lb_pick {
    uint64_t now_us; /* monotonic */
    uint32_t section;
    uint32_t pool;
    uint32_t backend; /* LB_NONE: nobody */
    uint32_t cost;
    uint32_t tried; /* how many were tried before */
    uint32_t route; /* that led to the pool: its number, and 1; 0: none */
    const struct lb_thought *thought;
};

/* Returns the low half of its number, by which lb_why_end finds it; never 0 for long. */
uint32_t lb_why_note(const struct lb_shm *shm, const struct lb_pick *pick);

/* A request that no pool was asked about. why: LB_WHY_ANSWER or LB_WHY_NO_ROUTE. status: of the response. */
void lb_why_answer(const struct lb_shm *shm, uint32_t section, enum lb_why why, uint32_t route, uint32_t status, uint64_t now_us);

/* A client, or a request, that is refused before anybody is picked. */
struct lb_why_refused {
    uint64_t now_us; /* monotonic */
    uint32_t pool;   /* row, or anything else: none */
    uint16_t route;  /* as lb_routed_to has it */
    uint16_t status; /* of the response; 0: none */
    enum lb_why why; /* LB_WHY_DENIED and what follows it */
};

void lb_why_refuse(const struct lb_shm *shm, uint32_t section, const struct lb_why_refused *refused);

/* What is spoken with it, and why: enum lb_protocol, enum lb_spoken_why. */
void lb_why_speak(const struct lb_shm *shm, uint32_t section, uint32_t number, uint8_t spoken, uint8_t why);

/* What the request's body said to its routes. */
void lb_why_body(const struct lb_shm *shm, uint32_t section, uint32_t number, enum lb_json_why json);

/* Of the section's newest decision: how the alternatives of its routes came out. */
void lb_why_way(const struct lb_shm *shm, uint32_t section, const struct lb_way *way);

/* What came of it; nothing when it was overwritten, or has ended already. status: of the response, 0: none. */
void lb_why_end(const struct lb_shm *shm, uint32_t section, uint32_t number, enum lb_end end, uint32_t status, uint64_t now_us);

#endif
