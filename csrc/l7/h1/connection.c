#include "connection.h"

#include "../belongs.h"
#include "client.h"
#include "end.h"
#include "state.h"

struct lb_verdict lb_h1_step(struct lb_l7 *l7, struct lb_h1 *h1)
{
    switch ((enum lb_h1_state)h1->state) {
    case LB_H1_FREE:
        return lb_verdict(LB_NEXT_OVER);
    case LB_H1_OPEN:
        return lb_h1_take_request(l7, h1);
    case LB_H1_LINGERING:
        return lb_h1_linger(l7, h1);
    }
    return lb_verdict(LB_NEXT_WAIT);
}

static struct lb_verdict linger(struct lb_l7 *l7, struct lb_h1 *h1)
{
    h1->client.since_ms = h1->linger_ms = (uint32_t)lb_now_ms(l7->ctx);
    lb_h1_move(l7, h1, LB_H1_LINGERING);
    return lb_verdict(LB_NEXT_AGAIN);
}

static struct lb_verdict end(struct lb_l7 *l7, struct lb_h1 *h1, enum lb_end why)
{
    lb_h1_end(l7, h1, why);
    return lb_verdict(LB_NEXT_OVER);
}

/* A head that does not come whole has no exchange: it gets one for its response, which is not counted. */
static struct lb_verdict respond(struct lb_l7 *l7, struct lb_h1 *h1, struct lb_verdict said)
{
    lb_h1_take_exchange(l7, h1)->minor = 1;
    return said;
}

struct lb_verdict lb_h1_carry_out(struct lb_l7 *l7, struct lb_h1 *h1, struct lb_verdict said)
{
    if (said.next == LB_NEXT_RESPOND)
        return respond(l7, h1, said);
    if (said.next == LB_NEXT_LINGER)
        return linger(l7, h1);
    if (said.next != LB_NEXT_END)
        __builtin_trap(); /* all else is said of exchanges */
    return end(l7, h1, (enum lb_end)said.end);
}
