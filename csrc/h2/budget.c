#include "budget.h"

enum { FRAME = 1000, FULL = LB_H2_BURST * FRAME };

static void add(struct lb_h2_budget *budget, uint64_t thousandths)
{
    uint64_t left = budget->left + thousandths;
    budget->left = (uint32_t)(left < FULL ? left : FULL);
}

void lb_h2_budget_open(struct lb_h2_budget *budget, uint64_t now_ms)
{
    *budget = (struct lb_h2_budget){.left = FULL, .since_ms = now_ms};
}

/* LB_H2_PER_SECOND frames a second are as many thousandths a millisecond. */
int lb_h2_budget_spend(struct lb_h2_budget *budget, uint64_t now_ms)
{
    add(budget, (now_ms - budget->since_ms) * LB_H2_PER_SECOND);
    budget->since_ms = now_ms;
    if (budget->left < FRAME)
        return -1;
    budget->left -= FRAME;
    return 0;
}

void lb_h2_budget_earn(struct lb_h2_budget *budget, uint32_t bytes)
{
    budget->moved += bytes % LB_H2_BYTES_A_FRAME;
    uint32_t frames = bytes / LB_H2_BYTES_A_FRAME + budget->moved / LB_H2_BYTES_A_FRAME;
    budget->moved %= LB_H2_BYTES_A_FRAME;
    add(budget, (uint64_t)frames * FRAME);
}
