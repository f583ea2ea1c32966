#include "finish.h"

#include "../table/account.h"
#include "charge.h"
#include "queue.h"
#include "request_log.h"
#include "stage.h"

void lb_http_finish(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    int whole = lb_http_has_asked_all(exchange);
    if (exchange->open)
        lb_http_log(l7, exchange, LB_ENDED_DONE, exchange->status, NULL);
    lb_http_leave_backend(l7, exchange, !whole ? LB_CONN_CUT : exchange->conn_keeps ? LB_CONN_KEEP : LB_CONN_PART);
    if (exchange->open)
        lb_ending_count_request(l7->ctx->row, LB_ENDED_DONE);
    exchange->open = 0;
    if (exchange->in.buffer != LB_SLAB_NONE)
        lb_input_consume(l7, &exchange->in);
}

void lb_http_break_off(struct lb_l7 *l7, struct lb_exchange *exchange, enum lb_end why)
{
    if (exchange->open && why != LB_ENDED_TUNNEL) /* else it was told before */
        lb_http_log(l7, exchange, why, exchange->status, NULL);
    lb_http_leave_queue(l7, exchange);
    lb_http_leave_backend(l7, exchange, LB_CONN_CUT);
    if (exchange->open)
        lb_ending_count_request(l7->ctx->row, why);
}
