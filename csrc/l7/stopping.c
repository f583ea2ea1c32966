#include "stopping.h"

#include "../l4/backend_report.h"
#include "../table/avoid.h"
#include "awaits.h"
#include "suspect.h"

/* Signs that a backend is stopping, though it still accepts connections: gunicorn, hypercorn, sanic and uvicorn --workers 2 leave their
 * listening socket open for a while after SIGTERM, and what connects then is reset at their exit. After a sign a successful connect proves
 * nothing: others are preferred until a response came (table/avoid.h). A false sign costs next to nothing, since the next request that may
 * be repeated puts it right. */

enum {
    FIRM = 8,        /* responses in a row after which it is a backend's habit to keep connections */
    QUIET_MS = 250,  /* a fresh connection that brings nothing for so long ... */
    USUAL_TIMES = 8, /* ... and for so many times the usual latency is a sign */
};

/* A response has come: one that suddenly says close is a sign, unless it speaks of its request. Any other one to a request that was sent
 * after a sign is the proof that was waited for. */
void lb_http_note_habit(struct lb_l7 *l7, const struct lb_exchange *exchange, uint16_t status, int says_close)
{
    struct lb_backend_health *health = lb_report_of(l7->ctx, exchange->backend);
    int was_firm = health->kept_in_row >= FIRM;
    if (!says_close)
        health->kept_in_row = (uint8_t)(was_firm ? FIRM : health->kept_in_row + 1);
    else if (status < 400)
        health->kept_in_row = 0;
    if (says_close && was_firm && status < 400)
        lb_suspect(l7->ctx, exchange->backend);
    else
        lb_avoid_heard(health, exchange->sent_us);
}

static uint32_t quiet_limit_ms(const struct lb_backend_health *health)
{
    uint32_t usual_ms = health->latency_us / 1000 * USUAL_TIMES;
    return usual_ms > QUIET_MS ? usual_ms : QUIET_MS;
}

uint32_t lb_http_quiet_left_ms(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    if (exchange->reused || exchange->quiet || exchange->stage != LB_RESPONSE_AWAITED || exchange->part_end ||
        exchange->backend == LB_NONE || lb_http_awaits(exchange) != LB_AWAITS_HEAD)
        return UINT32_MAX;
    const struct lb_backend_health *health = lb_report_of(l7->ctx, exchange->backend);
    if (!health->good || health->avoided)
        return UINT32_MAX; /* nothing is known of it, or it is suspected already */
    uint32_t limit_ms = quiet_limit_ms(health), passed_ms = ((uint32_t)l7->ctx->now_us - exchange->sent_us) / 1000;
    return passed_ms < limit_ms ? limit_ms - passed_ms : 0;
}

void lb_http_look_whether_quiet(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    if (lb_http_quiet_left_ms(l7, exchange))
        return;
    exchange->quiet = 1;
    lb_suspect(l7->ctx, exchange->backend);
}

void lb_http_note_lost(struct lb_l7 *l7, const struct lb_exchange *exchange)
{
    lb_suspect(l7->ctx, exchange->backend);
}
