/* How far an exchange has come. */
#ifndef LB_STAGE_H
#define LB_STAGE_H

#include "client.h"

/* Has all of the request gone out? */
static inline int lb_http_has_asked_all(const struct lb_http *client)
{
    return client->request.whole && !client->up.pending;
}

/* Has not a byte come of what was asked for? */
static inline int lb_http_is_silent(const struct lb_http *client)
{
    return client->stage == LB_RESPONSE_AWAITED && !client->parts && !client->part_end && !client->down.pending;
}

/* Has the client got a byte of the response, or one of an interim response that it did not take whole? Then nothing of our own fits
 * behind it. */
static inline int lb_http_is_answered(const struct lb_http *client)
{
    return client->stage != LB_RESPONSE_AWAITED || client->down.pending;
}

/* Nothing is there that a close would leave unread: that would be a reset. A client of TLS says goodbye, too. */
static inline int lb_http_is_drained(const struct lb_http *client)
{
    return client->in_next == client->in_end && !client->client.readable && !client->client.tls;
}

/* Does the connection end at once with this exchange, without waiting for the client's end? */
static inline int lb_http_is_last(const struct lb_http *client)
{
    return client->stage == LB_RESPONSE_WHOLE && !client->persistent && lb_http_has_asked_all(client) &&
           lb_http_is_drained(client);
}

#endif
