#include "body.h"

#include "../l4/sendq.h"
#include "belongs.h"
#include "held_route.h"

enum { SPLICED_BODY = 65536 }; /* what is left of a body must be this long to be worth a pipe */

struct lb_body_lane lb_body_of_request(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    const struct lb_stream *from = &exchange->stream[LB_CLIENT], *to = &exchange->stream[LB_BACKEND];
    struct lb_lane lane = {l7->ctx, from->side, to->side, &exchange->up, &exchange->request.streak};
    return (struct lb_body_lane){lane, l7, exchange, from, to, &exchange->request, &exchange->bytes_in, &l7->ctx->row->bytes_in};
}

struct lb_body_lane lb_body_of_response(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    const struct lb_stream *from = &exchange->stream[LB_BACKEND], *to = &exchange->stream[LB_CLIENT];
    struct lb_lane lane = {l7->ctx, from->side, to->side, &exchange->down, &exchange->response.streak};
    return (struct lb_body_lane){
        lane, l7, exchange, from, to, &exchange->response, &exchange->bytes_out, &l7->ctx->row->bytes_out};
}

void lb_body_arrived(struct lb_body_lane *body, size_t bytes)
{
    lb_add(body->counter, bytes);
    *body->bytes += bytes;
}

void lb_body_moved(struct lb_body_lane *body, size_t content)
{
    struct lb_exchange *exchange = body->exchange;
    if (!content)
        return;
    if (body->lane.flow != &exchange->up) {
        lb_http_moved(body->l7, exchange);
        return;
    }
    exchange->expects = 0; /* it waits for no 100, or no longer */
    lb_http_asked(body->l7, exchange);
}

void lb_body_took(struct lb_body *body, size_t bytes)
{
    if (body->framing == LB_BODY_CHUNKED) {
        body->left += bytes;
        lb_chunked_pass(&body->chunked, bytes);
    }
    if (body->framing != LB_BODY_LENGTH)
        return;
    body->left -= bytes;
    body->whole = body->left == 0;
}

int lb_body_is_too_large(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    uint64_t most = lb_http_max_body(l7, exchange);
    return most && exchange->request.left + lb_chunked_data(&exchange->request.chunked) > most;
}

/* --- a step --------------------------------------------------------------------------------------------------------- */

/* How much is certain to come without anything to be read in it. */
static uint64_t in_one_piece(const struct lb_body *body)
{
    return body->framing == LB_BODY_CHUNKED ? lb_chunked_data(&body->chunked) : body->left;
}

/* What is long and needs not be read, a chunk's data included, is spliced, from one socket that is a stream's alone to another. */
static int is_spliced(struct lb_body_lane *body)
{
    if (!body->from->side || !body->to->side)
        return 0;
    if (body->exchange->kept && body->lane.flow == &body->exchange->up)
        return 0; /* a copy of it stays */
    if (body->body->framing != LB_BODY_TO_END && in_one_piece(body->body) < SPLICED_BODY)
        return 0;
    return lb_lane_wants_splice(&body->lane) && lb_sendq_take_pipe(body->lane.ctx, body->lane.flow);
}

/* What waits holds nothing. */
static enum lb_step silent(struct lb_body_lane *body, enum lb_step step)
{
    if (step == LB_STEP_BLOCKED && !body->lane.flow->pending)
        lb_sendq_drop(body->lane.ctx, body->lane.flow);
    return step;
}

static enum lb_step splice_step(struct lb_body_lane *body)
{
    uint64_t most = LB_PIPE_BYTES;
    size_t got;
    if (body->body->framing != LB_BODY_TO_END && in_one_piece(body->body) < most)
        most = in_one_piece(body->body);
    enum lb_step step = lb_lane_splice(&body->lane, most, &got);
    if (step != LB_STEP_MOVED)
        return silent(body, step);
    lb_body_arrived(body, got);
    lb_body_moved(body, got);
    lb_body_took(body->body, got);
    return body->to->ops->flush(body->l7, body->exchange) < 0 ? LB_STEP_TO_FAILED : LB_STEP_MOVED;
}

/* What was held is out, or this would not be its turn. */
static enum lb_step copy_step(struct lb_body_lane *body)
{
    struct lb_chunk_piece piece;
    lb_sendq_drop(body->lane.ctx, body->lane.flow);
    enum lb_step step = body->from->ops->read(body, &piece);
    if (step != LB_STEP_MOVED || !piece.out_count)
        return step;
    step = body->to->ops->data(body, piece.out, piece.out_count);
    return step == LB_STEP_TO_FAILED || step == LB_STEP_BAD ? step : LB_STEP_MOVED;
}

enum lb_step lb_body_step(struct lb_body_lane *body)
{
    if (!is_spliced(body))
        return copy_step(body);
    enum lb_step step = splice_step(body);
    return step == LB_STEP_END ? copy_step(body) : step; /* what an end means there, its codec knows */
}
