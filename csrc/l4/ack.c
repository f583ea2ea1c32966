#include "ack.h"

enum {
    RAREST_TRIAL = 1 << 24, /* responses */
    SLOW_PART_MS = 30,      /* a part this late, and ... */
    LATE_PART_MS = 250,     /* ... not later than this was held back for an acknowledgement (TCP_DELACK_MIN .. MAX) */
};

void lb_ack_begin(struct lb_backend_health *health)
{
    health->ack_credit = LB_ACK_CREDIT;
    health->ack_trial_in = health->ack_trial_gap = LB_ACK_FIRST_TRIAL;
}

/* The first part of a response: acknowledge at once? */
static enum lb_ack first_part(struct lb_backend_health *health)
{
    if (!health->ack_credit)
        return LB_ACK_NO;
    health->ack_credit--;
    if (health->ack_trial_in) {
        health->ack_trial_in--;
        return LB_ACK_YES;
    }
    return LB_ACK_TRIAL;
}

/* A further part: what does its coming say of the last acknowledgement, or of its absence? */
static enum lb_ack further_part(struct lb_backend_health *health, enum lb_ack before, uint32_t pause_ms)
{
    int held_back = pause_ms >= SLOW_PART_MS && pause_ms <= LATE_PART_MS;
    if (before == LB_ACK_TRIAL) {
        if (health->ack_trial_gap < RAREST_TRIAL)
            health->ack_trial_gap *= 2;
        health->ack_trial_in = health->ack_trial_gap;
        health->ack_credit = held_back ? LB_ACK_CREDIT : 0;
    } else if (before == LB_ACK_YES || held_back) {
        health->ack_credit = LB_ACK_CREDIT;
    }
    return health->ack_credit ? LB_ACK_YES : LB_ACK_NO;
}

enum lb_ack lb_ack_part(struct lb_backend_health *health, int first, enum lb_ack before, uint32_t pause_ms)
{
    return first ? first_part(health) : further_part(health, before, pause_ms);
}
