#include "peers.h"

#include "../core/tcp_state.h"

enum {
    LOOKS = 4, /* in each time limit */
    LEAST_MS = 20,
};

/* What was seen. */
enum seen { NOTHING = 0, PAID = 1, CLIENT_OWES = 2, BACKEND_OWES = 3, SEEN = 3 };

static enum seen seen_of(const struct lb_peers *peers)
{
    return (enum seen)(peers->since & SEEN);
}

static void note(struct lb_peers *peers, enum seen seen, uint32_t at_ms)
{
    peers->since = (at_ms & ~(uint32_t)SEEN) | (uint32_t)seen;
}

static uint32_t passed_ms(uint32_t from_ms, uint32_t now_ms)
{
    return (int32_t)(now_ms - from_ms) > 0 ? now_ms - from_ms : 0;
}

/* Linux asks a shut window ever more rarely, up to every two minutes. That would tell a dead peer late. */
static void ask_often(struct lb_side *side, const struct lb_tcp_state *state, uint32_t timeout_ms)
{
    if (state->closed && timeout_ms && !side->hurried)
        side->hurried = lb_tcp_hurry(side->fd, timeout_ms / LOOKS) != 0;
}

/* Does this one owe? Only one of both is followed at a time: when it has paid, the other's turn comes. */
static int owes(struct lb_peers *peers, const struct lb_look *look, const struct lb_tcp_state *state, enum seen who)
{
    int goes_on = seen_of(peers) == who && passed_ms(peers->since, look->now_ms) <= state->last_ack_ms;
    if (state->owes && !goes_on)
        note(peers, who, look->now_ms);
    return state->owes;
}

/* Has it acknowledged bytes since the last look? Of the number only a digest is kept; 0: none yet. */
static void take_progress(struct lb_peers *peers, struct lb_look *look, const struct lb_tcp_state *state, int side)
{
    uint16_t digest = (uint16_t)(state->acked * UINT32_C(2654435761) >> 16 | 1);
    look->took[side] = peers->acked[side] && peers->acked[side] != digest;
    look->acked_ms[side] = look->now_ms - state->last_ack_ms;
    peers->acked[side] = digest;
}

enum lb_peers_verdict lb_peers_look(struct lb_peers *peers, struct lb_look *look)
{
    struct lb_tcp_state state[2];
    look->owed_ms = look->took[0] = look->took[1] = 0;
    if (seen_of(peers) == PAID && passed_ms(look->moved_ms, peers->since))
        return LB_PEERS_LIVE; /* nothing was sent since */
    for (int i = 0; i < 2; i++) {
        state[i] = (struct lb_tcp_state){0};
        if (!look->side[i])
            continue;
        if (lb_tcp_ask(look->side[i]->fd, &state[i]) < 0)
            return LB_PEERS_LIVE; /* its end is on its way, as an event */
        ask_often(look->side[i], &state[i], look->timeout_ms);
        take_progress(peers, look, &state[i], i);
    }
    int backend_first = seen_of(peers) == BACKEND_OWES && owes(peers, look, &state[1], BACKEND_OWES);
    if (!backend_first && !owes(peers, look, &state[0], CLIENT_OWES) && !owes(peers, look, &state[1], BACKEND_OWES)) {
        note(peers, state[0].outstanding || state[1].outstanding ? NOTHING : PAID, look->now_ms);
        return LB_PEERS_LIVE;
    }
    look->owed_ms = passed_ms(peers->since, look->now_ms) + 1;
    if (!look->timeout_ms || look->owed_ms < look->timeout_ms)
        return LB_PEERS_LIVE;
    return seen_of(peers) == BACKEND_OWES ? LB_BACKEND_IS_DEAD : LB_CLIENT_IS_DEAD;
}

uint32_t lb_peers_next_ms(const struct lb_look *look, uint64_t limit_ms)
{
    uint64_t next_ms = limit_ms / LOOKS;
    if (look->timeout_ms && look->timeout_ms / LOOKS < next_ms)
        next_ms = look->timeout_ms / LOOKS;
    if (look->owed_ms && look->timeout_ms > look->owed_ms && look->timeout_ms - look->owed_ms < next_ms)
        next_ms = look->timeout_ms - look->owed_ms;
    return next_ms > LEAST_MS ? (uint32_t)next_ms : LEAST_MS;
}
