#include "backend_report.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "../table/avoid.h"
#include "../table/backend_health.h"
#include "../table/timing.h"
#include "ack.h"

enum { PREFIX = sizeof "unix:" - 1 }; /* of the address of a row that is AF_UNIX */

/* Of "unix:/path" and "unix:@name": an abstract name begins with NUL, and has no NUL at its end (unix(7)). */
static void to_local(const struct lb_backend_row *row, struct lb_destination *to)
{
    struct sockaddr_un *local = &to->at.local;
    const char *path = (const char *)row->address + PREFIX;
    size_t length = strnlen(path, sizeof local->sun_path - 1);
    int is_abstract = *path == '@';
    local->sun_family = AF_UNIX;
    memcpy(local->sun_path, path, length);
    local->sun_path[length] = 0;
    if (is_abstract)
        local->sun_path[0] = 0;
    to->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + !is_abstract);
}

void lb_backend_destination(const struct lb_backend_row *row, struct lb_destination *to)
{
    if (row->family == AF_UNIX) {
        to_local(row, to);
    } else if (row->family == AF_INET6) {
        struct sockaddr_in6 *v6 = &to->at.ip.v6;
        *v6 = (struct sockaddr_in6){.sin6_family = AF_INET6, .sin6_port = htons(row->port), .sin6_scope_id = row->scope};
        memcpy(&v6->sin6_addr, row->ip, sizeof v6->sin6_addr);
        to->length = sizeof *v6;
    } else {
        struct sockaddr_in *v4 = &to->at.ip.v4;
        *v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(row->port)};
        memcpy(&v4->sin_addr, row->ip, sizeof v4->sin_addr);
        to->length = sizeof *v4;
    }
}

const char *lb_backend_authority(const struct lb_backend_row *row)
{
    return row->family == AF_UNIX ? "localhost" : (const char *)row->address;
}

struct lb_backend_health *lb_report_of(struct lb_worker_context *ctx, uint32_t backend)
{
    int fresh;
    struct lb_backend_health *health = lb_health_of(&ctx->shm, ctx->worker, backend, &fresh);
    if (fresh)
        lb_ack_begin(health);
    return health;
}

void lb_report_connected(struct lb_worker_context *ctx, uint32_t pool, uint32_t backend, uint32_t took_us)
{
    lb_timing_note(&ctx->shm, ctx->worker, pool, LB_TIMING_CONNECT, took_us);
    lb_health_reached(lb_report_of(ctx, backend), took_us, lb_now_ms(ctx));
}

/* Another failure in a row: tell the control plane at the bound, and at its multiples. */
static void report(struct lb_worker_context *ctx, uint32_t backend, uint32_t in_row, uint32_t bound, enum lb_failing what)
{
    if (bound && in_row % bound == 0 && ctx->alerts < LB_ALERTS)
        ctx->alert[ctx->alerts++] = (struct lb_alert){backend, what};
}

void lb_report_unreachable(struct lb_worker_context *ctx, uint32_t pool, uint32_t backend, int error)
{
    struct lb_backend_health *health = lb_report_of(ctx, backend);
    lb_health_unreachable(health, error);
    lb_add(&ctx->row->connect_failures, 1);
    if (error == ETIMEDOUT)
        lb_add(&ctx->row->connect_timeouts, 1);
    ctx->trial_failed = (uint8_t)lb_avoid_failed(&ctx->shm, ctx->worker, pool, backend, (uint32_t)lb_now_ms(ctx));
    uint32_t bound = ctx->trial_failed ? 1 : ctx->shm.pools[pool].max_connect_failures;
    report(ctx, backend, health->failures_in_row, bound, LB_FAILING_CONNECTS);
}

void lb_report_responded(struct lb_worker_context *ctx, uint32_t backend, uint32_t took_us)
{
    lb_health_responded(lb_report_of(ctx, backend), took_us, lb_now_ms(ctx));
}

int lb_is_failed_status(const struct lb_pool_row *pool, uint32_t status)
{
    return status >= 500 && status <= 599 && pool->failed_statuses[(status - 500) / 8] >> (status - 500) % 8 & 1;
}

void lb_report_failed(struct lb_worker_context *ctx, uint32_t pool, uint32_t backend, uint32_t status)
{
    struct lb_backend_health *health = lb_report_of(ctx, backend);
    if (status && !lb_is_failed_status(&ctx->shm.pools[pool], status)) {
        lb_health_error(health);
        return;
    }
    lb_health_failed(health, status);
    report(ctx, backend, health->failed_responses_in_row, ctx->shm.pools[pool].max_failed_responses, LB_FAILING_RESPONSES);
}

void lb_report_shortage(struct lb_worker_context *ctx, uint32_t backend, int error)
{
    lb_add(&ctx->row->shortages, 1);
    lb_tell_shortage(ctx, backend, error);
}

int lb_report_is_self(struct lb_worker_context *ctx, uint32_t backend, int fd)
{
    /* only a backend that is not known to be there can be mistaken for ourselves: the others are spared the question */
    const struct lb_backend_health *health = lb_report_of(ctx, backend);
    return (!health->last_success_ms || health->failures_in_row) && lb_net_is_self(fd);
}
