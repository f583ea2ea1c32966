#include "awaits.h"

#include "belongs.h"

enum lb_awaits lb_http_awaits(const struct lb_l7 *l7, const struct lb_http *client)
{
    const struct lb_side *backend = &lb_http_conn(l7, client)->side;
    int goes_up = (!client->request.whole || client->up.pending) && !backend->failed && !client->unsent;
    if (client->down.pending || client->stage == LB_RESPONSE_WHOLE)
        return LB_AWAITS_TAKER;
    if (goes_up && (client->up.pending || (client->client.readable && !backend->writable)))
        return LB_AWAITS_UPLOAD;
    if (goes_up && !(client->expects && client->stage == LB_RESPONSE_AWAITED))
        return LB_AWAITS_SENDER;
    return client->stage == LB_RESPONSE_AWAITED ? LB_AWAITS_HEAD : LB_AWAITS_BODY;
}
