#include "ack.h"

enum {
    RAREST_TRIAL = 1 << 24, /* answers */
    SLOW_PART_MS = 30,      /* a part this late, and ... */
    LATE_PART_MS = 250,     /* ... not later than this was held back for an acknowledgement (TCP_DELACK_MIN .. MAX) */
};

void lb_ack_begin(struct lb_outcome *outcome)
{
    outcome->ack_credit = LB_ACK_CREDIT;
    outcome->ack_trial_in = outcome->ack_trial_gap = LB_ACK_FIRST_TRIAL;
}

/* The first part of an answer: acknowledge at once? */
static enum lb_ack first_part(struct lb_outcome *outcome)
{
    if (!outcome->ack_credit)
        return LB_ACK_NO;
    outcome->ack_credit--;
    if (outcome->ack_trial_in) {
        outcome->ack_trial_in--;
        return LB_ACK_YES;
    }
    return LB_ACK_TRIAL;
}

/* A further part: what does its coming say of the last acknowledgement, or of its absence? */
static enum lb_ack further_part(struct lb_outcome *outcome, enum lb_ack before, uint32_t pause_ms)
{
    int held_back = pause_ms >= SLOW_PART_MS && pause_ms <= LATE_PART_MS;
    if (before == LB_ACK_TRIAL) {
        if (outcome->ack_trial_gap < RAREST_TRIAL)
            outcome->ack_trial_gap *= 2;
        outcome->ack_trial_in = outcome->ack_trial_gap;
        outcome->ack_credit = held_back ? LB_ACK_CREDIT : 0;
    } else if (before == LB_ACK_YES || held_back) {
        outcome->ack_credit = LB_ACK_CREDIT;
    }
    return outcome->ack_credit ? LB_ACK_YES : LB_ACK_NO;
}

enum lb_ack lb_ack_part(struct lb_outcome *outcome, int first, enum lb_ack before, uint32_t pause_ms)
{
    return first ? first_part(outcome) : further_part(outcome, before, pause_ms);
}
