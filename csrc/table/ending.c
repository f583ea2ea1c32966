#include "ending.h"

#include <stddef.h>

#define CLOSED(why) offsetof(struct lb_worker_row, closed_##why), offsetof(struct lb_worker_row, closed)
#define REFUSED(why) offsetof(struct lb_worker_row, refused_##why), offsetof(struct lb_worker_row, refused)
#define REQUEST(why) offsetof(struct lb_worker_row, requests_##why)

enum { UNRECORDED = UINT8_MAX, FAILURE = 1 };

const struct lb_ending lb_endings[LB_ENDINGS] = {
    /* counter and whole, request, record, failure, says, resets */
    [LB_ENDED_DONE] = {CLOSED(done), REQUEST(done), LB_ENDED_DONE, 0, LB_SAYS_GOOD, LB_RESETS_NEVER},
    [LB_ENDED_CLIENT] = {CLOSED(client_reset), REQUEST(client_aborts), LB_ENDED_CLIENT, 0, LB_SAYS_NOTHING, LB_RESETS_ALWAYS},
    [LB_ENDED_BACKEND] = {CLOSED(backend_reset), REQUEST(failed), LB_ENDED_BACKEND, FAILURE, LB_SAYS_FAILED, LB_RESETS_ALWAYS},
    [LB_ENDED_IDLE] = {CLOSED(idle), REQUEST(failed), LB_ENDED_IDLE, 0, LB_SAYS_NOTHING, LB_RESETS_UNDELIVERED},
    [LB_ENDED_HALF] = {CLOSED(half), REQUEST(failed), LB_ENDED_HALF, 0, LB_SAYS_NOTHING, LB_RESETS_UNDELIVERED},
    [LB_ENDED_CUT] = {CLOSED(cut), REQUEST(stopped), LB_ENDED_CUT, 0, LB_SAYS_NOTHING, LB_RESETS_UNDELIVERED},
    [LB_ENDED_STOPPED] = {CLOSED(stopped), REQUEST(stopped), LB_ENDED_STOPPED, 0, LB_SAYS_NOTHING, LB_RESETS_UNDELIVERED},
    [LB_ENDED_NO_BACKEND] = {REFUSED(no_backend), REQUEST(refused), LB_ENDED_NO_BACKEND, FAILURE, LB_SAYS_NOTHING,
                             LB_RESETS_ALWAYS},
    [LB_ENDED_UNREACHABLE] = {REFUSED(connect), REQUEST(refused), LB_ENDED_UNREACHABLE, FAILURE, LB_SAYS_UNREACHABLE,
                              LB_RESETS_ALWAYS},
    [LB_ENDED_RESOURCE] = {REFUSED(resource), REQUEST(failed), LB_ENDED_RESOURCE, FAILURE, LB_SAYS_NOTHING, LB_RESETS_ALWAYS},
    [LB_ENDED_LOCAL] = {CLOSED(done), REQUEST(refused), LB_ENDED_LOCAL, 0, LB_SAYS_NOTHING, LB_RESETS_NEVER},
    [LB_ENDED_LIMITED] = {REFUSED(client_sessions), REQUEST(refused), LB_ENDED_LIMITED, 0, LB_SAYS_NOTHING, LB_RESETS_ALWAYS},
    [LB_ENDED_SLOW] = {CLOSED(slow), REQUEST(failed), LB_ENDED_SLOW, 0, LB_SAYS_NOTHING, LB_RESETS_UNDELIVERED},
    [LB_ENDED_OVERDUE] = {CLOSED(overdue), REQUEST(failed), LB_ENDED_OVERDUE, 0, LB_SAYS_NOTHING, LB_RESETS_ALWAYS},
    [LB_ENDED_CLIENT_EARLY] = {REFUSED(client_aborts), REQUEST(client_aborts), LB_ENDED_CLIENT, 0, LB_SAYS_NOTHING,
                               LB_RESETS_ALWAYS},
    [LB_ENDED_TOO_FAST] = {REFUSED(client_rate), REQUEST(refused), LB_ENDED_LIMITED, 0, LB_SAYS_NOTHING, LB_RESETS_ALWAYS},
    [LB_ENDED_NO_BUFFER] = {CLOSED(cut), REQUEST(failed), LB_ENDED_RESOURCE, FAILURE, LB_SAYS_NOTHING, LB_RESETS_UNDELIVERED},
    [LB_ENDED_PREREAD] = {REFUSED(preread), REQUEST(refused), UNRECORDED, 0, LB_SAYS_NOTHING, LB_RESETS_NEVER},
    [LB_ENDED_HANDSHAKE] = {REFUSED(handshake), REQUEST(refused), UNRECORDED, 0, LB_SAYS_NOTHING, LB_RESETS_NEVER},
    [LB_ENDED_MOVED] = {CLOSED(moved), REQUEST(done), UNRECORDED, 0, LB_SAYS_NOTHING, LB_RESETS_NEVER},
    [LB_ENDED_TUNNEL] = {CLOSED(done), REQUEST(done), UNRECORDED, 0, LB_SAYS_NOTHING, LB_RESETS_NEVER},
    [LB_ENDED_DENIED] = {REFUSED(denied), REQUEST(refused), LB_ENDED_DENIED, 0, LB_SAYS_NOTHING, LB_RESETS_ALWAYS},
};

static void count(struct lb_worker_row *row, uint16_t offset)
{
    lb_add((uint64_t *)(void *)((char *)row + offset), 1);
}

void lb_ending_count(struct lb_worker_row *row, enum lb_end end)
{
    count(row, lb_endings[end].counter);
    count(row, lb_endings[end].whole);
}

void lb_ending_count_request(struct lb_worker_row *row, enum lb_end end)
{
    lb_add(&row->requests_active, UINT64_MAX); /* one less */
    count(row, lb_endings[end].request);
}

int lb_ending_is_refusal(enum lb_end end)
{
    return lb_endings[end].whole == offsetof(struct lb_worker_row, refused);
}
