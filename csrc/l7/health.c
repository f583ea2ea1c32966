#include "health.h"

#include <string.h>

#include "belongs.h"

/* Does the request ask at the listener's health_path? */
static int asks(const struct lb_listener_row *listener, const struct lb_message *message, const char *bytes)
{
    const char *path = (const char *)listener->health_path;
    size_t length = strlen(path);
    int looks = message->method == LB_GET || message->method == LB_HEAD;
    return length && looks && message->path.length == length && memcmp(bytes + message->path.at, path, length) == 0;
}

int lb_http_asks_health(const struct lb_l7 *l7, const struct lb_exchange *exchange, const char *bytes)
{
    return asks(lb_http_listener(l7, exchange), &l7->message, bytes);
}

struct lb_verdict lb_http_respond_health(struct lb_l7 *l7, struct lb_exchange *exchange)
{
    int ready = !l7->ctx->shm.head->not_ready && !lb_http_client_must_close(l7, exchange->client);
    return ready ? lb_verdict_respond(200, "ready") : lb_verdict_respond(503, "not ready");
}
