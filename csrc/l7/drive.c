#include "drive.h"

#include "attempt.h"
#include "belongs.h"
#include "deadline.h"
#include "elsewhere.h"
#include "lost.h"
#include "queue.h"
#include "request.h"
#include "respond.h"
#include "route_body.h"
#include "state.h"
#include "transfer.h"
#include "upload.h"

/* --- what is done in each state ------------------------------------------------------------------------------------- */

static struct lb_verdict deliver_own(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    int flushed = exchange->stream[LB_CLIENT].ops->flush(l7, exchange);
    if (flushed < 0)
        return lb_verdict_end(LB_ENDED_CLIENT);
    return lb_verdict(flushed ? LB_NEXT_FINISH : LB_NEXT_WAIT);
}

/* A client that has sent FIN after its request has left (unless the listener says otherwise): nobody waits for the response. */
static int has_left(const struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    return exchange->request.whole && lb_http_client_can(exchange, LB_HAS_LEFT) && !lb_http_listener(l7, exchange)->half_close;
}

struct lb_verdict lb_drive_step(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->state != LB_EXCHANGE_RESPONDING && has_left(l7, exchange))
        return lb_verdict_end(LB_ENDED_CLIENT);
    switch ((enum lb_exchange_state)exchange->state) {
    case LB_EXCHANGE_BEGUN:
        break; /* it does not stay so */
    case LB_EXCHANGE_QUEUED:
    case LB_EXCHANGE_CONNECTING:
    case LB_EXCHANGE_ASKING:
        return lb_http_take_more(l7, exchange);
    case LB_EXCHANGE_FORWARDING:
        return lb_http_transfer(l7, exchange);
    case LB_EXCHANGE_RESPONDING:
        return deliver_own(l7, exchange);
    case LB_EXCHANGE_READING:
        return lb_http_read_body(l7, exchange);
    }
    return lb_verdict(LB_NEXT_WAIT);
}

/* --- what was said, carried out ------------------------------------------------------------------------------------- */

static struct lb_verdict moved_to(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_exchange_state to)
{
    lb_http_moved(l7, exchange);
    lb_http_move(l7, exchange, to);
    return lb_verdict(LB_NEXT_AGAIN);
}

/* The exchange with its backend is over, and its request is still in the buffer. */
static void back_to_request(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (exchange->state == LB_EXCHANGE_FORWARDING)
        lb_http_move(l7, exchange, LB_EXCHANGE_BEGUN);
}

static struct lb_verdict leave_queue(struct lb_l7 *l7, struct lb_exchange *exchange, uint32_t backend)
{
    lb_http_leave_queue(l7, exchange);
    lb_http_move(l7, exchange, LB_EXCHANGE_BEGUN);
    return lb_http_attempt_with(l7, exchange, backend);
}

static struct lb_verdict send_request(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    struct lb_verdict there = lb_http_is_there(l7, exchange);
    if (there.next != LB_NEXT_WAIT)
        return there;
    exchange->peers = (struct lb_peers){0};
    lb_http_asked(l7, exchange);
    lb_http_refused_no_more(exchange);
    lb_http_move(l7, exchange, LB_EXCHANGE_FORWARDING);
    return lb_http_send_request(l7, exchange);
}

struct lb_verdict lb_drive(struct lb_l7 *l7, struct lb_exchange *exchange, struct lb_verdict said)
{
    switch ((enum lb_next)said.next) {
    case LB_NEXT_WAIT:
    case LB_NEXT_AGAIN:
    case LB_NEXT_LATER:
    case LB_NEXT_STARVED:
    case LB_NEXT_OVER:
        break;
    case LB_NEXT_WON:
    case LB_NEXT_HTTP2:
    case LB_NEXT_LINGER:
        __builtin_trap(); /* it is said of twins or connections alone */
    case LB_NEXT_READ:
        return lb_http_look_at_body(l7, exchange);
    case LB_NEXT_TEXT:
        return lb_http_look_at_text(l7, exchange);
    case LB_NEXT_HOLD:
        return moved_to(l7, exchange, LB_EXCHANGE_READING);
    case LB_NEXT_ASK:
        return moved_to(l7, exchange, LB_EXCHANGE_ASKING);
    case LB_NEXT_GRANTED:
        return lb_http_route_granted(l7, exchange);
    case LB_NEXT_ATTEMPT:
        back_to_request(l7, exchange);
        return lb_http_attempt(l7, exchange);
    case LB_NEXT_ANOTHER:
        back_to_request(l7, exchange);
        return lb_http_attempt_another(l7, exchange, said);
    case LB_NEXT_INSTEAD:
        back_to_request(l7, exchange);
        return lb_http_go_elsewhere(l7, exchange, said.number);
    case LB_NEXT_PICKED:
        return leave_queue(l7, exchange, said.number);
    case LB_NEXT_QUEUE:
        return moved_to(l7, exchange, LB_EXCHANGE_QUEUED);
    case LB_NEXT_CONNECT:
        return moved_to(l7, exchange, LB_EXCHANGE_CONNECTING);
    case LB_NEXT_FAILED:
        back_to_request(l7, exchange);
        return lb_http_attempt_failed(l7, exchange, (int)said.number);
    case LB_NEXT_SEND:
        return send_request(l7, exchange);
    case LB_NEXT_LOST:
        return lb_http_backend_lost(l7, exchange, said.status, said.why);
    case LB_NEXT_RESPOND:
    case LB_NEXT_ANSWER:
        return lb_http_respond(l7, exchange, said);
    case LB_NEXT_FINISH:
        return exchange->stream[LB_CLIENT].ops->done(l7, exchange);
    case LB_NEXT_END:
        exchange->stream[LB_CLIENT].ops->reset(l7, exchange, (enum lb_end)said.end);
        return lb_verdict(LB_NEXT_OVER);
    }
    return said;
}
