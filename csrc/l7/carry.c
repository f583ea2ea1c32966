#include <string.h>
#include <unistd.h>

#include "../core/io.h"
#include "../l4/ack.h"
#include "../l4/outcome.h"
#include "../l4/relay.h"
#include "../table/budget.h"
#include "parts.h"

enum {
    FIRST_READ = 32768,   /* of an answer: its head and this much of its body fit into one buffer if the client is slow */
    SMALL_ANSWER = 16384, /* the kernel acknowledges larger reads by itself */
    SMALL_BODY = 2048,
    SPLICED_BODY = 65536, /* what is left of a body must be this long to be worth a pipe */
};

static struct lb_conn *conn_of(const struct lb_l7 *l7, const struct lb_http *client)
{
    return lb_conn_at(&l7->conns, client->conn);
}

static void moved(struct lb_l7 *l7, struct lb_http *client)
{
    client->since_ms = (uint32_t)lb_now_ms(l7->plane);
}

/* --- sending -------------------------------------------------------------------------------------------------------- */

void lb_http_drop_flow(struct lb_l7 *l7, struct lb_flow *flow)
{
    lb_relay_drop(l7->plane, flow);
    flow->pending = 0;
}

/* Keep the end of two parts, of which `sent` bytes are gone. */
static void hold(struct lb_l7 *l7, struct lb_flow *flow, struct iovec parts[2], size_t sent)
{
    struct lb_buffer_pool *buffers = &l7->plane->buffers;
    lb_relay_drop(l7->plane, flow);
    *flow = (struct lb_flow){.held = lb_buffer_take(buffers), .holds = LB_HOLDS_BUFFER};
    l7->plane->row->buffers++;
    char *to = lb_buffer_at(buffers, flow->held);
    for (int i = 0; i < 2; i++) {
        size_t skip = sent < parts[i].iov_len ? sent : parts[i].iov_len, rest = parts[i].iov_len - skip;
        if (rest)
            memcpy(to + flow->pending, (const char *)parts[i].iov_base + skip, rest);
        flow->pending += (uint32_t)rest;
        sent -= skip;
    }
}

int lb_http_send_parts(struct lb_l7 *l7, struct lb_side *to, struct lb_flow *flow, const char *a, size_t a_count,
                       const char *b, size_t b_count)
{
    struct iovec parts[2] = {{(void *)(uintptr_t)a, a_count}, {(void *)(uintptr_t)b, b_count}};
    ssize_t sent = b_count ? lb_send_parts(to->fd, parts, 2) : lb_send(to->fd, a, a_count);
    if (sent < 0 && errno != EAGAIN)
        return -1;
    size_t took = sent < 0 ? 0 : (size_t)sent;
    if (took < a_count + b_count) {
        to->writable = 0;
        hold(l7, flow, parts, took);
    }
    return 0;
}

int lb_http_flush(struct lb_l7 *l7, struct lb_side *to, struct lb_flow *flow)
{
    while (flow->pending) {
        if (!to->writable)
            return 0;
        int piped = flow->holds == LB_HOLDS_PIPE;
        ssize_t took = piped ? lb_splice(lb_pipe_at(&l7->plane->pipes, flow->held)->out, to->fd, flow->pending)
                             : lb_send(to->fd, lb_buffer_at(&l7->plane->buffers, flow->held) + flow->start, flow->pending);
        if (took < 0 && errno != EAGAIN)
            return -1;
        if (took <= 0) {
            to->writable = 0;
            return 0;
        }
        flow->start += (uint32_t)took;
        flow->pending -= (uint32_t)took;
    }
    if (flow->holds == LB_HOLDS_BUFFER)
        lb_relay_drop(l7->plane, flow);
    return 1;
}

static void fill_hop(struct lb_l7 *l7, const struct lb_http *client, struct lb_hop *hop)
{
    *hop = (struct lb_hop){
        .listener = lb_http_listener(l7, client),
        .peer = client->peer,
        .peer_length = client->peer_length,
        .trusted = client->trusted,
        .backend = (const char *)l7->plane->shm.backends[client->backend].address,
    };
    if (hop->listener->request_id) {
        hop->id[0] = lb_http_random(l7);
        hop->id[1] = lb_http_random(l7);
    }
}

enum lb_next lb_http_send_request(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_hop hop;
    struct lb_message *message = &l7->message;
    const char *bytes = lb_http_in(l7, client) + client->in_start;
    fill_hop(l7, client, &hop);
    message->upgrade = client->upgrade;
    size_t head = lb_compose_request(l7->out, message, bytes, &hop);
    uint32_t body = client->in_next - client->in_start - message->head.bytes;
    lb_http_move(l7, client, LB_HTTP_EXCHANGE);
    moved(l7, client);
    client->sent_us = (uint32_t)l7->plane->now_us;
    if (!lb_buffer_pool_ready(&l7->plane->buffers))
        return lb_http_answer(l7, client, 503, "the balancer has no buffer left");
    if (lb_http_send_parts(l7, &conn_of(l7, client)->side, &client->up, l7->out, head, bytes + message->head.bytes, body) < 0) {
        client->replayable = 1; /* not a byte of it was accepted */
        return lb_http_backend_lost(l7, client, 502, "the backend closed the connection");
    }
    client->replayable = client->replayable && client->reused;
    if (!client->replayable)
        lb_http_consume(l7, client);
    return LB_NEXT_AGAIN;
}

/* --- bodies --------------------------------------------------------------------------------------------------------- */

/* One direction of an exchange. */
struct lane {
    struct lb_l7 *l7;
    struct lb_http *client;
    struct lb_side *from;
    struct lb_side *to;
    struct lb_flow *flow;
    struct lb_body *body;
    uint64_t *counter;
};

enum step { STEP_MOVED, STEP_BLOCKED, STEP_END, STEP_FROM_FAILED, STEP_TO_FAILED, STEP_BAD, STEP_TOO_LARGE };

static enum step silent(struct lane *lane, ssize_t got)
{
    if (got == 0)
        return STEP_END;
    if (errno != EAGAIN)
        return STEP_FROM_FAILED;
    lane->from->readable = 0;
    if (lane->flow->holds == LB_HOLDS_PIPE && !lane->flow->pending)
        lb_relay_drop(lane->l7->plane, lane->flow); /* what waits holds nothing */
    return STEP_BLOCKED;
}

static void arrived(struct lane *lane, size_t bytes, size_t asked)
{
    if (bytes < asked && !lane->from->hung_up)
        lane->from->readable = 0;
    lb_add(lane->counter, bytes);
    moved(lane->l7, lane->client);
}

static int wants_splice(const struct lane *lane)
{
    const struct lb_body *body = lane->body;
    if (body->framing == LB_BODY_CHUNKED || (body->framing == LB_BODY_LENGTH && body->left < SPLICED_BODY))
        return 0;
    switch ((enum lb_datapath)lane->l7->plane->datapath) {
    case LB_COPY:
        return 0;
    case LB_SPLICE:
        return 1;
    case LB_AUTO:
        return body->streak >= LB_STREAMING || lane->flow->holds == LB_HOLDS_PIPE;
    }
    return 0;
}

static int take_pipe(struct lane *lane)
{
    struct lb_plane *plane = lane->l7->plane;
    if (lane->flow->holds == LB_HOLDS_PIPE)
        return 1;
    uint32_t pipe = lb_pipe_take(&plane->pipes);
    if (pipe == LB_SLAB_NONE) {
        lb_add(&plane->row->pipe_misses, 1);
        return 0;
    }
    *lane->flow = (struct lb_flow){.held = pipe, .holds = LB_HOLDS_PIPE};
    plane->row->pipes++;
    return 1;
}

static void took_of_body(struct lb_body *body, size_t bytes)
{
    if (body->framing != LB_BODY_LENGTH)
        return;
    body->left -= bytes;
    body->whole = body->left == 0;
}

static enum step splice_step(struct lane *lane)
{
    struct lb_pipe *pipe = lb_pipe_at(&lane->l7->plane->pipes, lane->flow->held);
    uint64_t most = LB_PIPE_BYTES;
    if (lane->body->framing == LB_BODY_LENGTH && lane->body->left < most)
        most = lane->body->left;
    ssize_t got = lb_splice(lane->from->fd, pipe->in, most);
    if (got <= 0)
        return silent(lane, got);
    arrived(lane, (size_t)got, 0);
    lb_add(&lane->l7->plane->row->bytes_spliced, (uint64_t)got);
    lane->flow->pending = (uint32_t)got;
    took_of_body(lane->body, (size_t)got);
    return lb_http_flush(lane->l7, lane->to, lane->flow) < 0 ? STEP_TO_FAILED : STEP_MOVED;
}

static enum step send_on(struct lane *lane, const char *bytes, size_t count)
{
    if (count && lb_http_send_parts(lane->l7, lane->to, lane->flow, bytes, count, NULL, 0) < 0)
        return STEP_TO_FAILED;
    return STEP_MOVED;
}

static enum step copy_step(struct lane *lane)
{
    char *scratch = lane->l7->plane->scratch;
    size_t most = LB_SCRATCH_BYTES;
    if (lane->body->framing == LB_BODY_LENGTH && lane->body->left < most)
        most = lane->body->left;
    lb_relay_drop(lane->l7->plane, lane->flow);
    ssize_t got = lb_recv(lane->from->fd, scratch, most);
    if (got <= 0)
        return silent(lane, got);
    arrived(lane, (size_t)got, most);
    took_of_body(lane->body, (size_t)got);
    if (got < LB_SCRATCH_BYTES)
        lane->body->streak = 0;
    else if (lane->body->streak < LB_STREAMING)
        lane->body->streak++;
    return send_on(lane, scratch, (size_t)got);
}

/* What follows a chunked request is the next one's. */
static void keep_rest(struct lb_l7 *l7, struct lb_http *client, const char *bytes, uint32_t count)
{
    if (!count)
        return;
    client->in = lb_buffer_take(&l7->heads);
    memcpy(lb_http_in(l7, client), bytes, count);
    client->in_start = client->in_next = client->in_seen = 0;
    client->in_end = count;
}

static enum step chunked_request_step(struct lane *lane)
{
    char *scratch = lane->l7->plane->scratch;
    uint64_t most = lb_http_listener(lane->l7, lane->client)->max_body;
    uint32_t used;
    ssize_t got = lb_recv(lane->from->fd, scratch, LB_HEAD_BYTES);
    if (got <= 0)
        return silent(lane, got);
    arrived(lane, (size_t)got, LB_HEAD_BYTES);
    enum lb_chunking chunking = lb_chunked_read(&lane->body->chunked, scratch, (uint32_t)got, &used, NULL, NULL);
    lane->body->left += used;
    if (chunking == LB_CHUNKS_BAD)
        return STEP_BAD;
    if (most && lane->body->left > most)
        return STEP_TOO_LARGE;
    lane->body->whole = chunking == LB_CHUNKS_DONE;
    keep_rest(lane->l7, lane->client, scratch + used, (uint32_t)got - used);
    return send_on(lane, scratch, used);
}

static enum step chunked_answer_step(struct lane *lane)
{
    char *scratch = lane->l7->plane->scratch;
    struct lb_http *client = lane->client;
    uint32_t used, data;
    ssize_t got = lb_recv(lane->from->fd, scratch, LB_SCRATCH_BYTES);
    if (got <= 0)
        return silent(lane, got);
    arrived(lane, (size_t)got, LB_SCRATCH_BYTES);
    int strip = client->minor == 0; /* HTTP/1.0 knows no chunks */
    enum lb_chunking chunking =
        lb_chunked_read(&lane->body->chunked, scratch, (uint32_t)got, &used, strip ? scratch : NULL, &data);
    if (chunking == LB_CHUNKS_BAD)
        return STEP_BAD;
    lane->body->whole = chunking == LB_CHUNKS_DONE;
    if (used < (uint32_t)got)
        client->conn_keeps = 0; /* more than an answer: the next one cannot be trusted */
    return send_on(lane, scratch, strip ? data : used);
}

static enum step plain_step(struct lane *lane)
{
    return wants_splice(lane) && take_pipe(lane) ? splice_step(lane) : copy_step(lane);
}

/* --- the request's body --------------------------------------------------------------------------------------------- */

/* The backend takes no more of the request; its answer may be on its way all the same. */
static void backend_is_deaf(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_conn *conn = conn_of(l7, client);
    lb_http_drop_flow(l7, &client->up);
    conn->side.failed = 1;
    conn->side.readable = conn->side.hung_up = 1;
    client->conn_keeps = client->persistent = 0;
}

static enum lb_next bad_body(struct lb_l7 *l7, struct lb_http *client, uint16_t status, const char *why)
{
    lb_add(&l7->plane->row->requests_bad, 1);
    client->persistent = 0;
    if (client->stage != LB_ANSWER_AWAITED || client->down.pending)
        return lb_http_end(l7, client, LB_END_CLIENT_LEFT);
    return lb_http_answer(l7, client, status, why);
}

static enum lb_next carry_up(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_conn *conn = conn_of(l7, client);
    struct lane lane = {l7, client, &client->client, &conn->side, &client->up, &client->request, &l7->plane->row->bytes_in};
    if (conn->side.failed)
        return LB_NEXT_WAIT;
    if (client->up.pending) {
        int flushed = lb_http_flush(l7, &conn->side, &client->up);
        if (flushed < 0)
            backend_is_deaf(l7, client);
        else if (flushed)
            moved(l7, client);
        return flushed ? LB_NEXT_AGAIN : LB_NEXT_WAIT;
    }
    if (client->request.whole) {
        lb_relay_drop(l7->plane, &client->up);
        return LB_NEXT_WAIT;
    }
    if (!client->client.readable || !conn->side.writable)
        return LB_NEXT_WAIT;
    if (!lb_buffer_pool_ready(&l7->plane->buffers))
        return LB_NEXT_STARVED;
    switch (client->request.framing == LB_BODY_CHUNKED ? chunked_request_step(&lane) : plain_step(&lane)) {
    case STEP_MOVED:
        return LB_NEXT_AGAIN;
    case STEP_BLOCKED:
        return LB_NEXT_WAIT;
    case STEP_END:
    case STEP_FROM_FAILED:
        return lb_http_end(l7, client, LB_END_CLIENT_LEFT);
    case STEP_TO_FAILED:
        backend_is_deaf(l7, client);
        return LB_NEXT_AGAIN;
    case STEP_BAD:
        return bad_body(l7, client, 400, "the body breaks the rules of the chunked coding");
    case STEP_TOO_LARGE:
        return bad_body(l7, client, 413, "the body is too large");
    }
    return LB_NEXT_WAIT;
}

/* --- the answer's head ---------------------------------------------------------------------------------------------- */

static void drop_part(struct lb_l7 *l7, struct lb_http *client)
{
    if (client->part != LB_SLAB_NONE)
        lb_buffer_give(&l7->heads, client->part);
    client->part = LB_SLAB_NONE;
    client->part_end = 0;
}

/* The same request once more, when the connection was an old one that its backend had closed meanwhile (RFC 9112 9.3.1). */
static int may_replay(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_plane *plane = l7->plane;
    if (!client->reused || client->stage != LB_ANSWER_AWAITED || client->part_end || client->down.pending)
        return 0;
    lb_add(&plane->row->connections_stale, 1);
    if (!client->replayable)
        return 0;
    if (!lb_budget_retry(&plane->shm, plane->worker, client->pool, (uint32_t)(plane->now_us / 1000000))) {
        lb_add(&plane->row->retries_denied, 1);
        return 0;
    }
    lb_add(&plane->row->replays, 1);
    return 1;
}

enum lb_next lb_http_backend_lost(struct lb_l7 *l7, struct lb_http *client, uint16_t status, const char *why)
{
    int old = client->reused && status == 502;
    if (status == 502 && may_replay(l7, client)) {
        client->fresh_only = 1;
        lb_http_drop_flow(l7, &client->up);
        lb_http_leave_backend(l7, client, 0);
        lb_http_reread(l7, client);
        lb_http_move(l7, client, LB_HTTP_READING);
        return lb_http_reach(l7, client);
    }
    if (!old)
        lb_outcome_unanswered(l7->plane, client->pool, client->backend, 0);
    drop_part(l7, client);
    if (client->stage != LB_ANSWER_AWAITED || client->down.pending)
        return lb_http_end(l7, client, LB_END_BACKEND);
    if (client->in != LB_SLAB_NONE && client->in_start != client->in_next)
        lb_http_consume(l7, client);
    return lb_http_answer(l7, client, status, why);
}

static enum lb_next answer_is_bad(struct lb_l7 *l7, struct lb_http *client)
{
    lb_add(&l7->plane->row->answers_bad, 1);
    client->reused = 0; /* not the race of an old connection */
    return lb_http_backend_lost(l7, client, 502, "the backend's answer breaks the rules of HTTP");
}

/* Keep-Alive: timeout=N, seconds (RFC 2068 19.7.1.1): how long the backend says that it keeps an idle connection. */
static void hear_keep_alive(struct lb_l7 *l7, struct lb_http *client, const char *bytes)
{
    const struct lb_field *field = lb_field_find(&l7->message, bytes, "keep-alive", 10);
    uint32_t at = 0, seconds = 0;
    if (!field)
        return;
    for (;;) {
        struct lb_span word = lb_list_next(bytes, field->value, &at);
        if (!word.length)
            return;
        if (word.length < 9 || word.length > 14 || !lb_same_word(bytes + word.at, 8, "timeout=", 8))
            continue;
        for (uint32_t i = 8; i < word.length && bytes[word.at + i] >= '0' && bytes[word.at + i] <= '9'; i++)
            seconds = seconds * 10 + (uint32_t)(bytes[word.at + i] - '0');
        lb_outcome_of(l7->plane, client->backend)->keeps_ms = seconds * 1000;
        return;
    }
}

static void judge_answer(struct lb_l7 *l7, struct lb_http *client, uint16_t status)
{
    struct lb_worker_row *row = l7->plane->row;
    uint32_t took_us = (uint32_t)l7->plane->now_us - client->sent_us;
    uint64_t *classes[] = {&row->answers_2xx, &row->answers_3xx, &row->answers_4xx, &row->answers_5xx};
    lb_add(classes[status / 100 - 2], 1);
    if (status >= 500 && status != 501 && status != 505)
        lb_outcome_unanswered(l7->plane, client->pool, client->backend, status);
    else
        lb_outcome_answered(l7->plane, client->pool, client->backend, took_us);
}

/* What has come of the body with the head: bytes of it that go out, or -1. They may be gathered in place. */
static int64_t first_of_body(struct lb_http *client, char *bytes, uint32_t count)
{
    struct lb_body *body = &client->answer;
    uint32_t used = 0, data = 0;
    switch ((enum lb_framing)body->framing) {
    case LB_BODY_NONE:
        body->whole = 1;
        break;
    case LB_BODY_LENGTH:
        data = used = count < body->left ? count : (uint32_t)body->left;
        took_of_body(body, used);
        break;
    case LB_BODY_TO_END:
        data = used = count;
        break;
    case LB_BODY_CHUNKED:
        switch (lb_chunked_read(&body->chunked, bytes, count, &used, client->minor ? NULL : bytes, &data)) {
        case LB_CHUNKS_BAD:
            return -1;
        case LB_CHUNKS_DONE:
            body->whole = 1;
            break;
        case LB_CHUNKS_MORE:
            break;
        }
        data = client->minor ? used : data;
        break;
    }
    if (used < count)
        client->conn_keeps = 0; /* more than an answer: the next one cannot be trusted */
    return data;
}

static enum lb_next final_answer(struct lb_l7 *l7, struct lb_http *client, char *bytes, uint32_t count)
{
    struct lb_message *message = &l7->message;
    char cookie[LB_COOKIE_BYTES];
    client->conn_keeps = client->conn_keeps && message->persistent;
    client->answer = (struct lb_body){.framing = message->framing, .left = message->length};
    int64_t body = first_of_body(client, bytes + message->head.bytes, count - message->head.bytes);
    if (body < 0)
        return answer_is_bad(l7, client);
    int to_end = message->framing == LB_BODY_TO_END || (message->framing == LB_BODY_CHUNKED && !client->minor);
    client->persistent =
        client->persistent && client->request.whole && !to_end && !lb_http_must_close(l7, client);
    struct lb_farewell farewell = {
        .client_minor = client->minor,
        .persistent = client->persistent,
        .chunked = message->framing == LB_BODY_CHUNKED && client->minor,
        .date = lb_http_date(l7),
        .cookie = client->sticky_new ? cookie : NULL,
    };
    if (client->sticky_new)
        lb_http_sticky_cookie(l7, client, cookie);
    hear_keep_alive(l7, client, bytes);
    judge_answer(l7, client, message->head.status);
    client->stage = client->answer.whole ? LB_ANSWER_WHOLE : LB_ANSWER_BODY;
    size_t head = lb_compose_answer(l7->out, message, bytes, &farewell), apart = (size_t)body;
    if (apart <= SMALL_BODY) { /* one short copy is cheaper than a second part */
        memcpy(l7->out + head, bytes + message->head.bytes, apart);
        head += apart;
        apart = 0;
    }
    int sent = lb_http_send_parts(l7, &client->client, &client->down, l7->out, head, bytes + message->head.bytes, apart);
    drop_part(l7, client);
    if (client->replayable)
        lb_http_consume(l7, client);
    client->replayable = 0;
    return sent < 0 ? lb_http_end(l7, client, LB_END_CLIENT_LEFT) : LB_NEXT_AGAIN;
}

/* 101: both connections go on as a session. */
static enum lb_next switch_protocols(struct lb_l7 *l7, struct lb_http *client, const char *bytes, uint32_t count)
{
    struct lb_message *message = &l7->message;
    struct lb_farewell farewell = {.client_minor = 1, .switches = 1, .date = lb_http_date(l7)};
    if (!client->upgrade || client->down.pending || client->up.pending)
        return answer_is_bad(l7, client);
    size_t head = lb_compose_answer(l7->out, message, bytes, &farewell);
    memcpy(l7->out + head, bytes + message->head.bytes, count - message->head.bytes);
    judge_answer(l7, client, 200);
    int early = client->in != LB_SLAB_NONE && client->in_end > client->in_next;
    struct lb_conn *conn = conn_of(l7, client);
    struct lb_adoption child = {
        .client = client->client.fd,
        .server = conn->side.fd,
        .backend = client->backend,
        .pool = client->pool,
        .listener = client->listener,
        .from_client = early ? lb_http_in(l7, client) + client->in_next : NULL,
        .from_client_count = early ? client->in_end - client->in_next : 0,
        .from_server = l7->out,
        .from_server_count = (uint32_t)head + count - message->head.bytes,
    };
    if (lb_session_adopt(l7->plane, &child) < 0)
        return lb_http_backend_lost(l7, client, 503, "the balancer has no session left");
    lb_add(&l7->plane->row->upgrades, 1);
    drop_part(l7, client);
    client->conn = LB_SLAB_NONE;
    client->backend = LB_NONE;
    lb_conn_forget(&l7->conns, conn);
    return lb_http_end(l7, client, LB_END_ADOPTED);
}

/* 100 and its like go through to those who know them (RFC 9110 15.2). */
static int pass_interim(struct lb_l7 *l7, struct lb_http *client, const char *bytes)
{
    struct lb_farewell farewell = {.client_minor = 1, .persistent = 1, .date = ""};
    lb_add(&l7->plane->row->answers_1xx, 1);
    if (!client->minor)
        return 0;
    size_t head = lb_compose_answer(l7->out, &l7->message, bytes, &farewell);
    return lb_http_send_parts(l7, &client->client, &client->down, l7->out, head, NULL, 0);
}

/* Keep bytes of the answer for later, at the start of the part buffer. They may lie in it. */
static void keep_part(struct lb_l7 *l7, struct lb_http *client, const char *bytes, uint32_t count)
{
    if (client->part == LB_SLAB_NONE)
        client->part = lb_buffer_take(&l7->heads);
    memmove(lb_buffer_at(&l7->heads, client->part), bytes, count);
    client->part_end = count;
}

static enum lb_next read_answer(struct lb_l7 *l7, struct lb_http *client, char *bytes, uint32_t count)
{
    static const struct lb_head_limits limits = {LB_MAX_HEAD, LB_MAX_HEAD, LB_FIELD_ROOM};
    while (count) {
        enum lb_reading reading =
            lb_message_answer(&l7->message, bytes, count, &limits, (enum lb_method)client->method);
        if (reading == LB_READ_PARTIAL)
            break;
        if (reading != LB_READ_DONE)
            return answer_is_bad(l7, client);
        if (l7->message.head.status == 101)
            return switch_protocols(l7, client, bytes, count);
        if (l7->message.head.status >= 200)
            return final_answer(l7, client, bytes, count);
        if (pass_interim(l7, client, bytes) < 0)
            return lb_http_end(l7, client, LB_END_CLIENT_LEFT);
        bytes += l7->message.head.bytes;
        count -= l7->message.head.bytes;
        if (client->down.pending)
            break; /* read on when the client has taken it */
    }
    if (count)
        keep_part(l7, client, bytes, count);
    else
        drop_part(l7, client);
    return LB_NEXT_AGAIN;
}

/* Small parts of an answer that is not whole may wait for our acknowledgement. */
static void acknowledge(struct lb_l7 *l7, struct lb_http *client, size_t bytes, uint32_t pause_ms)
{
    struct lb_plane *plane = l7->plane;
    if (client->conn == LB_SLAB_NONE || client->stage == LB_ANSWER_WHOLE)
        return;
    struct lb_outcome *outcome = lb_outcome_of(plane, client->backend);
    client->acked = (uint8_t)lb_ack_part(outcome, !client->parts, (enum lb_ack)client->acked, pause_ms);
    client->parts = 1;
    if (client->acked == LB_ACK_YES && bytes < SMALL_ANSWER) {
        lb_net_quickack(conn_of(l7, client)->side.fd);
        lb_add(&plane->row->quickacks, 1);
    }
}

/* A further part that makes the answer whole says whether the acknowledgement before helped. */
static void last_part(struct lb_l7 *l7, struct lb_http *client, uint32_t pause_ms)
{
    if (client->parts && client->stage == LB_ANSWER_WHOLE && client->backend != LB_NONE)
        (void)lb_ack_part(lb_outcome_of(l7->plane, client->backend), 0, (enum lb_ack)client->acked, pause_ms);
}

static enum lb_next await_answer(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_side *from = &conn_of(l7, client)->side;
    char *bytes = l7->plane->scratch;
    size_t room = FIRST_READ;
    if (client->part != LB_SLAB_NONE) {
        bytes = lb_buffer_at(&l7->heads, client->part) + client->part_end;
        room = LB_HEAD_BYTES - client->part_end;
    }
    ssize_t got = room ? lb_recv(from->fd, bytes, room) : 0;
    if (got < 0 && errno == EAGAIN) {
        from->readable = 0;
        return LB_NEXT_WAIT;
    }
    if (got <= 0)
        return lb_http_backend_lost(l7, client, 502, "the backend closed the connection before it answered");
    uint32_t pause_ms = (uint32_t)lb_now_ms(l7->plane) - client->since_ms, generation = client->generation;
    if ((size_t)got < room && !from->hung_up)
        from->readable = 0;
    lb_add(&l7->plane->row->bytes_out, (uint64_t)got);
    moved(l7, client);
    if (client->part != LB_SLAB_NONE) {
        client->part_end += (uint32_t)got;
        bytes = lb_buffer_at(&l7->heads, client->part);
        got = client->part_end;
    }
    enum lb_next next = read_answer(l7, client, bytes, (uint32_t)got);
    if (next != LB_NEXT_OVER && client->generation == generation && client->state == LB_HTTP_EXCHANGE)
        acknowledge(l7, client, (size_t)got, pause_ms);
    return next;
}

/* --- the answer's body ---------------------------------------------------------------------------------------------- */

static enum lb_next answer_broke(struct lb_l7 *l7, struct lb_http *client)
{
    lb_outcome_unanswered(l7->plane, client->pool, client->backend, 0);
    return lb_http_end(l7, client, LB_END_BACKEND);
}

static enum lb_next carry_body(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_side *from = &conn_of(l7, client)->side;
    struct lane lane = {l7, client, from, &client->client, &client->down, &client->answer, &l7->plane->row->bytes_out};
    uint32_t pause_ms = (uint32_t)lb_now_ms(l7->plane) - client->since_ms;
    uint64_t before = l7->plane->row->bytes_out;
    switch (client->answer.framing == LB_BODY_CHUNKED ? chunked_answer_step(&lane) : plain_step(&lane)) {
    case STEP_MOVED:
        if (client->answer.whole)
            client->stage = LB_ANSWER_WHOLE;
        acknowledge(l7, client, l7->plane->row->bytes_out - before, pause_ms);
        last_part(l7, client, pause_ms);
        return LB_NEXT_AGAIN;
    case STEP_BLOCKED:
        return LB_NEXT_WAIT;
    case STEP_END:
        if (client->answer.framing != LB_BODY_TO_END)
            return answer_broke(l7, client);
        client->stage = LB_ANSWER_WHOLE;
        return LB_NEXT_AGAIN;
    case STEP_BAD:
        lb_add(&l7->plane->row->answers_bad, 1);
        return answer_broke(l7, client);
    case STEP_FROM_FAILED:
    case STEP_TOO_LARGE:
        return answer_broke(l7, client);
    case STEP_TO_FAILED:
        return lb_http_end(l7, client, LB_END_CLIENT_LEFT);
    }
    return LB_NEXT_WAIT;
}

static enum lb_next carry_down(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_side *from = &conn_of(l7, client)->side;
    if (client->down.pending) {
        int flushed = lb_http_flush(l7, &client->client, &client->down);
        if (flushed < 0)
            return lb_http_end(l7, client, LB_END_CLIENT_LEFT);
        if (!flushed)
            return LB_NEXT_WAIT;
        moved(l7, client);
        if (client->stage == LB_ANSWER_AWAITED && client->part_end) /* what came behind an interim answer */
            return read_answer(l7, client, lb_buffer_at(&l7->heads, client->part), client->part_end);
    }
    if (client->stage == LB_ANSWER_WHOLE)
        return lb_http_finish(l7, client);
    if (!from->readable || !client->client.writable)
        return LB_NEXT_WAIT;
    if (!lb_buffer_pool_ready(&l7->plane->buffers))
        return LB_NEXT_STARVED;
    return client->stage == LB_ANSWER_AWAITED ? await_answer(l7, client) : carry_body(l7, client);
}

/* --- both directions ------------------------------------------------------------------------------------------------ */

enum lb_next lb_http_carry(struct lb_l7 *l7, struct lb_http *client)
{
    enum lb_next up = carry_up(l7, client);
    if (up == LB_NEXT_OVER || client->state != LB_HTTP_EXCHANGE)
        return up;
    enum lb_next down = carry_down(l7, client);
    if (down == LB_NEXT_OVER || down == LB_NEXT_AGAIN || up == LB_NEXT_WAIT)
        return down;
    return up;
}

enum lb_next lb_http_finish(struct lb_l7 *l7, struct lb_http *client)
{
    struct lb_worker_row *row = l7->plane->row;
    int whole = client->request.whole && !client->up.pending;
    lb_http_drop_flow(l7, &client->up);
    lb_http_drop_flow(l7, &client->down);
    lb_http_leave_backend(l7, client, client->conn_keeps && whole);
    if (client->open) {
        client->open = 0;
        lb_add(&row->exchanges_active, UINT64_MAX);
        lb_add(&row->exchanges_done, 1);
    }
    if (client->in != LB_SLAB_NONE)
        lb_http_consume(l7, client);
    moved(l7, client);
    if (client->persistent && whole) {
        lb_http_move(l7, client, LB_HTTP_READING);
        return LB_NEXT_AGAIN;
    }
    if (whole && client->in == LB_SLAB_NONE && !client->client.readable)
        return lb_http_end(l7, client, LB_END_DONE);
    (void)shutdown(client->client.fd, SHUT_WR);
    lb_http_move(l7, client, LB_HTTP_LINGERING);
    return LB_NEXT_AGAIN;
}
