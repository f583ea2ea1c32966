#include "outcome.h"

#include <errno.h>
#include <string.h>

#include "../core/shortage.h"
#include "../table/avoid.h"
#include "../table/budget.h"
#include "../table/learn.h"
#include "../table/timing.h"
#include "ack.h"

union lb_address lb_backend_address(const struct lb_backend_row *row)
{
    union lb_address to;
    memset(&to, 0, sizeof to);
    if (row->family == AF_INET6) {
        to.v6 = (struct sockaddr_in6){
            .sin6_family = AF_INET6, .sin6_port = htons(row->port), .sin6_scope_id = row->scope};
        memcpy(&to.v6.sin6_addr, row->ip, sizeof to.v6.sin6_addr);
    } else {
        to.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(row->port)};
        memcpy(&to.v4.sin_addr, row->ip, sizeof to.v4.sin_addr);
    }
    return to;
}

struct lb_outcome *lb_outcome_of(struct lb_plane *plane, uint32_t backend)
{
    int fresh;
    struct lb_outcome *outcome = lb_learn_of(&plane->shm, plane->worker, backend, &fresh);
    if (fresh)
        lb_ack_begin(outcome);
    return outcome;
}

void lb_outcome_connected(struct lb_plane *plane, uint32_t pool, uint32_t backend, uint32_t took_us)
{
    lb_timing_note(&plane->shm, plane->worker, pool, LB_TIMING_CONNECT, took_us);
    lb_learn_reached(lb_outcome_of(plane, backend), took_us, lb_now_ms(plane));
}

/* Another failure in a row: tell the control plane at the bound, and at its multiples. */
static void report(struct lb_plane *plane, uint32_t backend, uint32_t in_row, uint32_t bound, enum lb_failing what)
{
    if (bound && in_row % bound == 0 && plane->alerts < LB_ALERTS)
        plane->alert[plane->alerts++] = (struct lb_alert){backend, what};
}

void lb_outcome_unreachable(struct lb_plane *plane, uint32_t pool, uint32_t backend, int error)
{
    struct lb_outcome *outcome = lb_outcome_of(plane, backend);
    lb_learn_unreachable(outcome, error);
    lb_add(&plane->row->connect_failures, 1);
    if (error == ETIMEDOUT)
        lb_add(&plane->row->connect_timeouts, 1);
    plane->trial_failed = (uint8_t)lb_avoid_failed(&plane->shm, plane->worker, pool, backend, (uint32_t)lb_now_ms(plane));
    uint32_t bound = plane->trial_failed ? 1 : plane->shm.pools[pool].max_connect_failures;
    report(plane, backend, outcome->failures_in_row, bound, LB_FAILING_CONNECTS);
}

void lb_outcome_answered(struct lb_plane *plane, uint32_t backend, uint32_t took_us)
{
    lb_learn_answered(lb_outcome_of(plane, backend), took_us, lb_now_ms(plane));
}

int lb_is_failed_status(const struct lb_pool_row *pool, uint32_t status)
{
    return status >= 500 && status <= 599 && pool->failed_statuses[(status - 500) / 8] >> (status - 500) % 8 & 1;
}

void lb_outcome_unanswered(struct lb_plane *plane, uint32_t pool, uint32_t backend, uint32_t status)
{
    struct lb_outcome *outcome = lb_outcome_of(plane, backend);
    if (status && !lb_is_failed_status(&plane->shm.pools[pool], status)) {
        lb_learn_error(outcome);
        return;
    }
    lb_learn_unanswered(outcome, status);
    report(plane, backend, outcome->answers_in_row, plane->shm.pools[pool].max_failed_responses, LB_FAILING_ANSWERS);
}

void lb_outcome_shortage(struct lb_plane *plane, uint32_t backend, int error)
{
    lb_add(&plane->row->shortages, 1);
    lb_tell_shortage(plane, backend, error);
}

int lb_may_retry(struct lb_plane *plane, uint32_t pool, int error, uint32_t tried_count, uint8_t *shortages)
{
    if (lb_is_shortage(error)) {
        ++*shortages;
        return tried_count < LB_MAX_TRIED;
    }
    if (tried_count - *shortages > plane->shm.pools[pool].retries || tried_count == LB_MAX_TRIED)
        return 0;
    int is_free = plane->trial_failed; /* trials are few, and no client is to pay for one */
    plane->trial_failed = 0;
    if (!is_free && !lb_budget_retry(&plane->shm, plane->worker, pool, (uint32_t)(plane->now_us / 1000000))) {
        lb_add(&plane->row->retries_denied, 1);
        return 0;
    }
    lb_add(&plane->row->retries, 1);
    return 1;
}

int lb_outcome_is_self(struct lb_plane *plane, uint32_t backend, int fd)
{
    /* only a backend that is not known to be there can be mistaken for ourselves: the others are spared the question */
    const struct lb_outcome *outcome = lb_outcome_of(plane, backend);
    return (!outcome->last_success_ms || outcome->failures_in_row) && lb_net_is_self(fd);
}
