#include "account.h"

#include <stddef.h>
#include <string.h>

#include "ending.h"
#include "timing.h"

/* A row that has a new tenant begins with nothing. */
static struct lb_tally *of_tenant(struct lb_tally *tally, uint32_t tenant)
{
    if (tally->tenant != tenant) {
        memset(tally, 0, sizeof *tally);
        __atomic_store_n(&tally->tenant, tenant, __ATOMIC_RELEASE);
    }
    return tally;
}

static struct lb_tally *of_listener(const struct lb_shm *shm, uint32_t worker, uint32_t listener)
{
    return of_tenant(lb_shm_listener_tally(shm, worker, listener), shm->listeners[listener].tenant);
}

void lb_account_accepted(const struct lb_shm *shm, uint32_t worker, uint32_t listener)
{
    lb_add(&of_listener(shm, worker, listener)->accepted, 1);
}

void lb_account_text(const struct lb_shm *shm, uint32_t section, uint32_t pool, enum lb_why why, uint32_t bytes, uint32_t known)
{
    struct lb_tally *tally = of_tenant(lb_shm_pool_tally(shm, section, pool), shm->pools[pool].tenant);
    lb_add(why == LB_WHY_PREFIX ? &tally->prefix_continued : known ? &tally->prefix_shared : &tally->prefix_new, 1);
    if (why == LB_WHY_CROWDED || why == LB_WHY_WARM)
        lb_add(&tally->prefix_moved, 1);
    lb_add(&tally->prefix_bytes, bytes);
    lb_add(&tally->prefix_matched, known);
}

static void count(struct lb_tally *tally, const struct lb_ended *ended, int http2)
{
    enum lb_end end = (enum lb_end)lb_endings[ended->end].record;
    if (end == LB_ENDED_LIMITED || (end == LB_ENDED_LOCAL && ended->status == 429))
        lb_add(&tally->limited, 1);
    if (ended->kind == LB_RECORD_REFUSED)
        return; /* it never was a session */
    lb_add(ended->kind == LB_RECORD_EXCHANGE ? &tally->requests : &tally->sessions, 1);
    if (lb_endings[ended->end].failure)
        lb_add(&tally->failed, 1);
    else if (end == LB_ENDED_CLIENT)
        lb_add(&tally->client_aborts, 1);
    else if (end == LB_ENDED_LOCAL)
        lb_add(&tally->local_responses, 1);
    if (ended->status >= 100)
        lb_add(&tally->responses[ended->status < 600 ? ended->status / 100 - 1 : 4], 1);
    if (http2)
        lb_add(&tally->http2, 1);
    if (ended->grpc && ended->grpc <= sizeof tally->grpc / sizeof *tally->grpc)
        lb_add(&tally->grpc[ended->grpc - 1], 1);
    lb_add(&tally->bytes_in, ended->bytes_in);
    lb_add(&tally->bytes_out, ended->bytes_out);
}

/* A model has its times beside its tally, and they go with it. */
static void count_model(const struct lb_shm *shm, uint32_t worker, const struct lb_ended *ended)
{
    uint32_t model = ended->model - UINT32_C(1), tenant = lb_shm_model(shm, model)->tenant;
    struct lb_tally *tally = lb_shm_model_tally(shm, worker, model);
    struct lb_histogram *times = lb_shm_model_timing(shm, worker, model);
    if (tally->tenant != tenant && tally->requests)
        memset(times, 0, sizeof *times);
    count(of_tenant(tally, tenant), ended, ended->spoken == LB_SPEAKS_HTTP2);
    if (ended->end != LB_ENDED_DONE)
        return;
    lb_add(&times->count[lb_timing_bucket(ended->now_us - ended->began_us)], 1);
    lb_add(&times->sum_us, ended->now_us - ended->began_us);
}

/* --- the ring ------------------------------------------------------------------------------------------------------- */

static void put_texts(struct lb_record *record, const struct lb_request_log *log, const char *reason)
{
    size_t used = 0;
    if (log) {
        used = (size_t)log->method_length + log->host_length + log->path_length + log->referer_length + log->agent_length +
               log->id_length;
        memcpy(record->text, log->text, used);
        memcpy(record->trace, log->trace, sizeof record->trace);
        record->span = log->span;
        record->parent = log->parent;
        record->trace_flags = log->trace_flags;
        record->method_length = log->method_length;
        record->host_length = log->host_length;
        record->path_length = log->path_length;
        record->id_length = log->id_length;
        record->referer_length = log->referer_length;
        record->agent_length = log->agent_length;
        record->flags |= log->truncated ? LB_RECORD_TRUNCATED : 0;
    }
    if (reason) {
        size_t room = LB_RECORD_TEXT - used < UINT8_MAX ? LB_RECORD_TEXT - used : UINT8_MAX;
        size_t length = strnlen(reason, room);
        memcpy(record->text + used, reason, length);
        record->reason_length = (uint8_t)length;
        used += length;
    }
    if (log && log->user_length && log->user_length <= LB_RECORD_TEXT - used) {
        memcpy(record->text + used, log->user, log->user_length);
        record->user_length = log->user_length;
    }
}

static void put(const struct lb_shm *shm, uint32_t worker, const struct lb_ended *ended, uint8_t flags)
{
    struct lb_worker_row *row = lb_shm_worker(shm, worker);
    uint64_t number = row->records + 1;
    struct lb_record *record = lb_shm_record(shm, worker, number);
    int known = ended->backend != UINT32_MAX;
    memset(record, 0, offsetof(struct lb_record, text));
    record->number = number;
    record->ended_us = ended->now_us;
    record->total_us = ended->now_us - ended->began_us;
    record->bytes_in = ended->bytes_in;
    record->bytes_out = ended->bytes_out;
    record->generation = known ? shm->backends[ended->backend].generation : 0;
    record->backend = ended->backend;
    record->accept_us = ended->accept_us;
    record->connect_us = ended->connect_us;
    record->first_us = ended->first_us;
    record->queue_us = ended->queue_us;
    memcpy(record->client, ended->client, sizeof record->client);
    record->client_port = ended->client_port;
    record->listener = (uint16_t)ended->listener;
    record->pool = (uint16_t)ended->pool;
    record->status = ended->status;
    record->kind = (uint8_t)ended->kind;
    record->end = lb_endings[ended->end].record;
    record->flags = flags;
    record->tried = ended->tried;
    record->minor = ended->minor;
    record->grpc = ended->grpc;
    record->spoken = ended->spoken;
    record->model = ended->model;
    put_texts(record, ended->log, ended->reason);
    __atomic_store_n(&row->records, number, __ATOMIC_RELEASE);
}

/* One of so many, and every failure: a response of 500 and more is one, too. */
static int is_logged(const struct lb_tally *tally, const struct lb_ended *ended, uint32_t every)
{
    if (!every)
        return 0;
    return lb_endings[ended->end].failure || ended->status >= 500 ||
           (tally->requests + tally->sessions + tally->limited) % every == 0;
}

static int is_traced(const struct lb_ended *ended, uint32_t every)
{
    return every && ended->log && ended->log->span && ended->log->trace_flags & 1;
}

void lb_account(const struct lb_shm *shm, uint32_t worker, const struct lb_ended *ended)
{
    struct lb_tally *tally = of_listener(shm, worker, ended->listener);
    count(tally, ended, ended->kind == LB_RECORD_EXCHANGE && ended->minor == LB_RECORD_HTTP2);
    if (ended->pool < shm->head->max_pools)
        count(of_tenant(lb_shm_pool_tally(shm, worker, ended->pool), shm->pools[ended->pool].tenant), ended,
              ended->spoken == LB_SPEAKS_HTTP2);
    if (ended->model)
        count_model(shm, worker, ended);
    if (!lb_account_records(shm))
        return;
    uint8_t flags = ended->flags;
    flags |= is_logged(tally, ended, shm->head->log_every) ? LB_RECORD_LOGGED : 0;
    flags |= is_traced(ended, shm->head->trace_every) ? LB_RECORD_TRACED : 0;
    if (flags & (LB_RECORD_LOGGED | LB_RECORD_TRACED))
        put(shm, worker, ended, flags);
}
