#include "ending.h"

#include <stddef.h>

#define CLOSED(why) offsetof(struct lb_worker_row, closed_##why), offsetof(struct lb_worker_row, closed)
#define REFUSED(why) offsetof(struct lb_worker_row, refused_##why), offsetof(struct lb_worker_row, refused)

enum { UNRECORDED = UINT8_MAX, FAILURE = 1 };

const struct lb_ending lb_endings[LB_ENDINGS] = {
    /* counter and whole, record, failure, fate, resets */
    [LB_ENDED_DONE] = {CLOSED(done), LB_ENDED_DONE, 0, LB_FATE_DONE, LB_RESETS_NEVER},
    [LB_ENDED_CLIENT] = {CLOSED(client_reset), LB_ENDED_CLIENT, 0, LB_FATE_LEFT, LB_RESETS_ALWAYS},
    [LB_ENDED_BACKEND] = {CLOSED(backend_reset), LB_ENDED_BACKEND, FAILURE, LB_FATE_FAILED, LB_RESETS_ALWAYS},
    [LB_ENDED_IDLE] = {CLOSED(idle), LB_ENDED_IDLE, 0, LB_FATE_ENDED, LB_RESETS_UNDELIVERED},
    [LB_ENDED_HALF] = {CLOSED(half), LB_ENDED_HALF, 0, LB_FATE_ENDED, LB_RESETS_UNDELIVERED},
    [LB_ENDED_CUT] = {CLOSED(cut), LB_ENDED_CUT, 0, LB_FATE_ENDED, LB_RESETS_UNDELIVERED},
    [LB_ENDED_STOPPED] = {CLOSED(stopped), LB_ENDED_STOPPED, 0, LB_FATE_ENDED, LB_RESETS_UNDELIVERED},
    [LB_ENDED_NO_BACKEND] = {REFUSED(no_backend), LB_ENDED_NO_BACKEND, FAILURE, LB_FATE_ENDED, LB_RESETS_ALWAYS},
    [LB_ENDED_UNREACHABLE] = {REFUSED(connect), LB_ENDED_UNREACHABLE, FAILURE, LB_FATE_UNREACHABLE, LB_RESETS_ALWAYS},
    [LB_ENDED_RESOURCE] = {REFUSED(resource), LB_ENDED_RESOURCE, FAILURE, LB_FATE_SHORTAGE, LB_RESETS_ALWAYS},
    [LB_ENDED_LOCAL] = {CLOSED(done), LB_ENDED_LOCAL, 0, LB_FATE_ENDED, LB_RESETS_NEVER},
    [LB_ENDED_LIMITED] = {REFUSED(client_sessions), LB_ENDED_LIMITED, 0, LB_FATE_ENDED, LB_RESETS_ALWAYS},
    [LB_ENDED_SLOW] = {CLOSED(slow), LB_ENDED_SLOW, 0, LB_FATE_LEFT, LB_RESETS_UNDELIVERED},
    [LB_ENDED_CLIENT_EARLY] = {REFUSED(client_aborts), LB_ENDED_CLIENT, 0, LB_FATE_LEFT, LB_RESETS_ALWAYS},
    [LB_ENDED_TOO_FAST] = {REFUSED(client_rate), LB_ENDED_LIMITED, 0, LB_FATE_ENDED, LB_RESETS_ALWAYS},
    [LB_ENDED_PREREAD] = {REFUSED(preread), UNRECORDED, 0, LB_FATE_ENDED, LB_RESETS_NEVER},
    [LB_ENDED_HANDSHAKE] = {REFUSED(handshake), UNRECORDED, 0, LB_FATE_ENDED, LB_RESETS_NEVER},
    [LB_ENDED_MOVED] = {CLOSED(moved), UNRECORDED, 0, LB_FATE_ENDED, LB_RESETS_NEVER},
};

static uint64_t *at(struct lb_worker_row *row, uint16_t offset)
{
    return (uint64_t *)(void *)((char *)row + offset);
}

void lb_ending_count(struct lb_worker_row *row, enum lb_end end)
{
    lb_add(at(row, lb_endings[end].counter), 1);
    lb_add(at(row, lb_endings[end].whole), 1);
}

int lb_ending_is_refusal(enum lb_end end)
{
    return lb_endings[end].whole == offsetof(struct lb_worker_row, refused);
}
