#include "server_stream.h"

#include "../../core/io.h"
#include "../../l4/sendq.h"
#include "../belongs.h"
#include "../forward.h"
#include "../kept.h"
#include "body.h"
#include "encode.h"
#include "server.h"
#include "login.h"

static unsigned ready(const struct lb_exchange *exchange)
{
    return lb_h1_ready(exchange->stream[LB_BACKEND].side);
}

/* It takes no more of the request; its response may be on its way all the same. A socket tells an error once: EPIPE, of a reset that came
 * after the FIN, leaves the response whole. errno: of the write. */
static void note_failure(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_conn *conn = lb_http_conn(l7, exchange);
    conn->was_reset = errno != EPIPE;
    conn->side.readable = conn->side.hung_up = 1;
}

static int flush(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    int flushed = lb_sendq_flush(l7->ctx, &exchange->up, exchange->stream[LB_BACKEND].side);
    if (flushed < 0)
        note_failure(l7, exchange);
    return flushed;
}

static enum lb_step data(struct lb_body_lane *body, const char *bytes, size_t count)
{
    lb_http_keep_copy(body->l7, body->exchange, bytes, count);
    enum lb_step step = lb_lane_send(&body->lane, bytes, count);
    if (step == LB_STEP_TO_FAILED)
        note_failure(body->l7, body->exchange);
    return step;
}

/* Is this the last request on its connection? A backend that is told so closes first, and its end of the connection is the one that rests in
 * TIME_WAIT. Behind HEAD some servers send a body all the same. A login lives on its connection. */
static int is_last_there(const struct lb_l7 *l7, const struct lb_exchange *exchange, const struct lb_conn *conn)
{
    if (exchange->upgrade)
        return 0;
    if (exchange->method == LB_HEAD)
        return 1;
    return !conn->login && (lb_conn_keeps_none(&l7->conns, exchange->backend) || (conn->header && !exchange->persistent));
}

static enum lb_step send_head(struct lb_l7 *l7, struct lb_exchange *exchange, const struct lb_head_out *out)
{
    struct lb_conn *conn = lb_http_conn(l7, exchange);
    if (lb_login_is_named(&l7->message, out->bytes))
        lb_conn_log_in(conn, &exchange->client->own);
    conn->told = (uint8_t)is_last_there(l7, exchange, conn);
    out->forward->last = conn->told;
    l7->message.upgrade = exchange->upgrade;
    size_t head = lb_encode_request(l7->out, &l7->message, out->bytes, out->forward);
    if (!lb_sendq_can_hold(l7->ctx, head + out->body_count))
        return LB_STEP_STARVED;
    int sent = lb_sendq_send(l7->ctx, &exchange->up, &conn->side, l7->out, head, out->body, out->body_count);
    return sent < 0 ? LB_STEP_TO_FAILED : LB_STEP_MOVED;
}

static void leave(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_conn *conn, enum lb_conn_end how)
{
    conn->owner = LB_SLAB_NONE;
    if (how == LB_CONN_KEEP && lb_conn_is_own(conn) && !exchange->persistent)
        how = LB_CONN_PART; /* it serves nobody else */
    switch (how) {
    case LB_CONN_CUT:
        lb_conn_drop(&l7->conns, conn);
        break;
    case LB_CONN_PART:
        lb_conn_part(&l7->conns, conn);
        break;
    case LB_CONN_KEEP:
        lb_conn_keep(&l7->conns, conn);
        break;
    }
}

static void carry(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    lb_http_conn(l7, exchange)->owner = lb_http_index(l7, exchange);
}

static const struct lb_stream_ops ops = {
    .ready = ready,
    .head = send_head,
    .read = lb_h1_read_response_body,
    .data = data,
    .flush = flush,
    .await = lb_h1_await_response,
    .resume = lb_h1_resume_response,
    .carry = carry,
    .leave = leave,
};

struct lb_stream lb_h1_server_stream(struct lb_conn *conn)
{
    return (struct lb_stream){.ops = &ops, .side = &conn->side, .chunks = 1};
}
