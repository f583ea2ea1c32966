#include "request_log.h"

#include <stddef.h>
#include <string.h>

#include "../core/random.h"
#include "../table/timing.h"
#include "grpc.h"

enum {
    HOST_ROOM = 80,
    METHOD_ROOM = 16,
    ID_ROOM = 64, /* kept free behind the path */
};

static uint32_t put(struct lb_request_log *log, uint32_t at, const char *bytes, struct lb_span span, uint32_t room)
{
    uint32_t length = span.length < room ? span.length : room;
    log->truncated |= length < span.length;
    memcpy(log->text + at, bytes + span.at, length);
    return length;
}

static struct lb_request_log *log_of(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    return exchange->log == LB_SLAB_NONE ? NULL : lb_slab_at(&l7->logs, exchange->log);
}

/* The caller's trace goes on through us; without one, or with several, which cannot all be meant (3.2), one begins. */
static void place_in_trace(struct lb_l7 *l7, struct lb_request_log *log, const char *bytes, uint32_t every)
{
    const struct lb_message_head *head = &l7->message.head;
    struct lb_trace found = {0};
    uint32_t count = 0;
    int valid = 0;
    for (uint32_t i = 0; i < head->field_count; i++)
        if (head->fields[i].known == LB_TRACEPARENT && ++count == 1)
            valid = lb_trace_read(&found, bytes + head->fields[i].value.at, head->fields[i].value.length);
    if (!valid || count > 1) {
        found.id[0] = lb_random_next(&l7->random);
        found.id[1] = lb_random_next(&l7->random);
        found.span = 0;
        found.flags = lb_random_next(&l7->random) % every == 0 ? LB_TRACE_SAMPLED : 0;
    }
    memcpy(log->trace, found.id, sizeof log->trace);
    log->parent = found.span;
    log->span = lb_random_next(&l7->random) | 1;
    log->trace_flags = found.flags & LB_TRACE_SAMPLED;
}

int lb_http_trace(const struct lb_l7 *l7, const struct lb_exchange *exchange, struct lb_trace *trace, int *begins)
{
    const struct lb_request_log *log = log_of(l7, exchange);
    if (!log || !log->span)
        return 0;
    *trace = (struct lb_trace){{log->trace[0], log->trace[1]}, log->span, log->trace_flags};
    *begins = !log->parent;
    return 1;
}

/* What a header says, cut to the room. */
static uint8_t put_header(struct lb_request_log *log, uint32_t at, const struct lb_field *field, const char *bytes, uint32_t room)
{
    uint32_t length = field ? field->value.length : 0;
    if (length > room)
        length = room;
    if (length > UINT8_MAX)
        length = UINT8_MAX;
    if (length)
        memcpy(log->text + at, bytes + field->value.at, length);
    return (uint8_t)length;
}

/* They share what the path has left: the referer has half of it at most. */
static void put_origin(const struct lb_message *message, struct lb_request_log *log, uint32_t used, const char *bytes)
{
    uint32_t room = LB_RECORD_TEXT - ID_ROOM - used;
    log->referer_length = put_header(log, used, lb_field_find(message, bytes, "referer", 7), bytes, room / 2);
    used += log->referer_length;
    room -= log->referer_length;
    log->agent_length = put_header(log, used, lb_field_find(message, bytes, "user-agent", 10), bytes, room);
}

/* The path without its query, which may hold what nobody should read in a log. */
void lb_http_log_request(struct lb_l7 *l7, struct lb_exchange *exchange, const char *bytes)
{
    const struct lb_message *message = &l7->message;
    if (!lb_account_records(&l7->ctx->shm))
        return;
    exchange->log = lb_slab_take(&l7->logs);
    struct lb_request_log *log = log_of(l7, exchange);
    if (!log)
        return;
    memset(log, 0, offsetof(struct lb_request_log, text));
    uint32_t every = __atomic_load_n(&l7->ctx->shm.head->trace_every, __ATOMIC_RELAXED);
    if (every)
        place_in_trace(l7, log, bytes, every);
    log->method_length = (uint8_t)put(log, 0, bytes, message->head.method, METHOD_ROOM);
    uint32_t used = log->method_length;
    log->host_length = (uint8_t)put(log, used, bytes, message->authority, HOST_ROOM);
    used += log->host_length;
    log->path_length = (uint16_t)put(log, used, bytes, message->path, LB_RECORD_TEXT - ID_ROOM - used);
    if (__atomic_load_n(&l7->ctx->shm.head->log_texts, __ATOMIC_RELAXED))
        put_origin(message, log, used + log->path_length, bytes);
}

void lb_http_log_id(struct lb_l7 *l7, const struct lb_exchange *exchange, const char *id, uint32_t length)
{
    struct lb_request_log *log = log_of(l7, exchange);
    if (!log)
        return;
    uint32_t used = (uint32_t)log->method_length + log->host_length + log->path_length + log->referer_length + log->agent_length;
    log->id_length = (uint8_t)(length < ID_ROOM ? length : ID_ROOM);
    memcpy(log->text + used, id, log->id_length);
}

void lb_http_log_user(struct lb_l7 *l7, const struct lb_exchange *exchange, const char *name, uint32_t length)
{
    struct lb_request_log *log = log_of(l7, exchange);
    if (!log)
        return;
    log->user_length = (uint8_t)(length < LB_USER_BYTES ? length : LB_USER_BYTES);
    memcpy(log->user, name, log->user_length);
}

static uint32_t backend_of(const struct lb_exchange *exchange)
{
    return exchange->backend != LB_NONE || !exchange->tried_count ? exchange->backend
                                                                  : exchange->tried[exchange->tried_count - 1];
}

void lb_http_log(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_end end, uint16_t status, const char *reason)
{
    const struct lb_request_log *log = log_of(l7, exchange);
    struct lb_ended ended = {
        .now_us = l7->ctx->now_us,
        .began_us = exchange->began_us,
        .bytes_in = exchange->bytes_in,
        .bytes_out = exchange->bytes_out,
        .listener = exchange->client->listener,
        .pool = exchange->routed ? exchange->pool : UINT32_MAX,
        .backend = exchange->routed ? backend_of(exchange) : LB_NONE,
        .accept_us = exchange->client->accept_us,
        .connect_us = exchange->reached_us,
        .first_us = exchange->first_us,
        .queue_us = exchange->queued_us,
        .client = exchange->client->ip,
        .client_port = exchange->client->port,
        .status = status,
        .kind = LB_RECORD_EXCHANGE,
        .end = end,
        .reason = reason,
        .log = log,
        .model = exchange->model,
        .flags = (uint8_t)((exchange->reused && exchange->reached_us != LB_NEVER_US ? LB_RECORD_REUSED : 0) |
                           (exchange->client->side.tls ? LB_RECORD_TLS : 0)),
        .tried = exchange->tried_count,
        .minor = exchange->client->speaks == LB_SPEAKS_HTTP2 ? LB_RECORD_HTTP2 : exchange->minor,
        .grpc = (uint8_t)(exchange->grpc ? exchange->grpc_status + 1 : 0),
        .spoken = exchange->reached_us == LB_NEVER_US ? 0
                : exchange->stream[LB_BACKEND].http2  ? LB_SPEAKS_HTTP2
                                                      : LB_SPEAKS_HTTP1,
    };
    if (exchange->grpc && exchange->grpc_status <= LB_GRPC_MOST)
        lb_add(&l7->ctx->row->grpc_ok + exchange->grpc_status, 1);
    lb_account(&l7->ctx->shm, l7->ctx->worker, &ended);
    if (end == LB_ENDED_DONE && status != 101)
        lb_timing_note(&l7->ctx->shm, l7->ctx->worker, exchange->pool, LB_TIMING_REQUEST, l7->ctx->now_us - exchange->began_us);
    if (log)
        lb_slab_give(&l7->logs, exchange->log);
    exchange->log = LB_SLAB_NONE;
    exchange->client->accept_us = 0;
}
