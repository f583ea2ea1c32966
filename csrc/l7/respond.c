#include "respond.h"

#include "../l4/sendq.h"
#include "../table/account.h"
#include "belongs.h"
#include "body.h"
#include "charge.h"
#include "edits.h"
#include "grpc.h"
#include "queue.h"
#include "request_log.h"
#include "state.h"

static void count_response(struct lb_worker_row *row, uint16_t status)
{
    lb_add(status < 400 ? &row->responses_2xx : status < 500 ? &row->responses_4xx : &row->responses_5xx, 1);
}

static size_t compose(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_verdict said)
{
    if (exchange->edited == LB_SLAB_NONE && lb_edits_any(l7) && lb_edits_make(l7, exchange, NULL, NULL) < 0)
        lb_edits_drop(l7, exchange); /* it has none then */
    if (said.status == 503 && said.next == LB_NEXT_RESPOND && !said.number)
        said.number = lb_http_pool(l7, exchange)->retry_after_s;
    return exchange->stream[LB_CLIENT].ops->local(l7, exchange, said);
}

static enum lb_step send_composed(struct lb_l7 *l7, struct lb_exchange *exchange, size_t length)
{
    struct lb_body_lane lane = lb_body_of_response(l7, exchange);
    return exchange->stream[LB_CLIENT].ops->data(&lane, l7->out, length);
}

/* The exchange is over, whatever becomes of its response. */
static void leave_exchange(struct lb_l7 *l7, struct lb_exchange *exchange, size_t length, struct lb_verdict said)
{
    if (exchange->open) {
        exchange->bytes_out = length;
        lb_http_log(l7, exchange, LB_ENDED_LOCAL, said.status, said.why);
    }
    lb_http_leave_queue(l7, exchange);
    lb_http_leave_backend(l7, exchange, LB_CONN_CUT);
    lb_sendq_drop(l7->ctx, &exchange->up);
    count_response(l7->ctx->row, said.status);
    if (exchange->open)
        lb_ending_count_request(l7->ctx->row, LB_ENDED_LOCAL);
    exchange->open = 0;
}

struct lb_verdict lb_http_respond(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_verdict said)
{
    if (exchange->down.pending) /* an interim response is stuck: nothing fits behind it */
        return lb_verdict_end(LB_ENDED_BACKEND);
    exchange->persistent = exchange->persistent && exchange->request.whole && !lb_http_client_must_close(l7, exchange->client);
    if (exchange->grpc)
        exchange->grpc_status = (uint8_t)(exchange->overdue ? LB_GRPC_DEADLINE_EXCEEDED : lb_grpc_status_for(said.status));
    size_t length = compose(l7, exchange, said);
    leave_exchange(l7, exchange, length, said);
    lb_http_moved(l7, exchange);
    lb_http_move(l7, exchange, LB_EXCHANGE_RESPONDING);
    if (!lb_buffer_pool_ready(&l7->ctx->buffers))
        return lb_verdict_end(LB_ENDED_NO_BUFFER);
    if (send_composed(l7, exchange, length) == LB_STEP_TO_FAILED)
        return lb_verdict_end(LB_ENDED_CLIENT);
    return lb_verdict(LB_NEXT_AGAIN);
}
