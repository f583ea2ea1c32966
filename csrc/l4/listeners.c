#include "listeners.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/congestion.h"
#include "../core/shortage.h"

enum { ACCEPTS_PER_EVENT = 64, ERROR_PAUSE_MS = 50 };

int lb_listeners_open(struct lb_listeners *listeners, uint32_t count, lb_accept_fn take, void *context)
{
    *listeners =
        (struct lb_listeners){.take = take, .context = context, .count = count, .at = malloc(count * sizeof *listeners->at)};
    if (!listeners->at)
        return -ENOMEM;
    for (uint32_t i = 0; i < count; i++)
        listeners->at[i] = (struct lb_listener){.fd = -1};
    return 0;
}

void lb_listeners_close(struct lb_listeners *listeners)
{
    for (uint32_t i = 0; listeners->at && i < listeners->count; i++)
        if (listeners->at[i].fd >= 0)
            close(listeners->at[i].fd);
    free(listeners->at);
    listeners->at = NULL;
}

static int is_local(int fd)
{
    union lb_address here = {0};
    socklen_t length = sizeof here;
    return getsockname(fd, &here.any, &length) == 0 && lb_net_is_loopback(&here);
}

int lb_listeners_add(struct lb_listeners *listeners, struct lb_worker_context *ctx, uint32_t listener, int fd, int own)
{
    if (listener >= listeners->count || listeners->at[listener].fd >= 0) {
        close(fd);
        return -EINVAL;
    }
    int error = lb_loop_watch(&ctx->loop, fd, listeners->paused ? 0 : EPOLLIN, lb_tag_of(LB_TAG_LISTENER, listener, 0));
    if (error) {
        close(fd);
        return error;
    }
    listeners->at[listener] = (struct lb_listener){.fd = fd, .own = (uint8_t)own, .local = (uint8_t)is_local(fd)};
    if (listeners->at[listener].local && ctx->loopback_control)
        lb_congestion_set(fd, ctx->loopback_control);
    listeners->open++;
    return 0;
}

static void set_interest(struct lb_listeners *listeners, struct lb_worker_context *ctx, uint32_t events)
{
    for (uint32_t i = 0; i < listeners->count; i++)
        if (listeners->at[i].fd >= 0)
            (void)lb_loop_change(&ctx->loop, listeners->at[i].fd, events, lb_tag_of(LB_TAG_LISTENER, i, 0));
}

static void pause_accepting(struct lb_listeners *listeners, struct lb_worker_context *ctx, uint64_t retry_ms)
{
    listeners->retry_ms = retry_ms;
    if (listeners->paused)
        return;
    listeners->paused = 1;
    lb_add(&ctx->row->accept_pauses, 1);
    set_interest(listeners, ctx, 0);
}

static int has_room(const struct lb_worker_context *ctx)
{
    return ctx->row->active + ctx->prereads < ctx->sessions.capacity;
}

/* A connection that failed in the queue is the client's affair (accept(2), "Error handling"): take the next. */
static int concerns_one_client(int error)
{
    switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
        return 1;
    default:
        return 0;
    }
}

enum accepted { ACCEPT_MORE, ACCEPT_EMPTY, ACCEPT_LATER };

static enum accepted accept_one(struct lb_listeners *listeners, struct lb_worker_context *ctx, uint32_t listener)
{
    if (!has_room(ctx)) {
        pause_accepting(listeners, ctx, 0);
        return ACCEPT_LATER;
    }
    union lb_address peer;
    socklen_t length = sizeof peer;
    int fd = accept4(listeners->at[listener].fd, &peer.any, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
        if (peer.any.sa_family == AF_UNIX) /* a path that it may have bound is no address, and is cut off */
            peer = (union lb_address){.any.sa_family = AF_UNIX};
        if (ctx->loopback_control && !listeners->at[listener].local && lb_net_is_loopback(&peer))
            lb_congestion_set(fd, ctx->loopback_control);
        listeners->take(listeners->context, fd, listener, &peer);
        return ACCEPT_MORE;
    }
    if (errno == EAGAIN)
        return ACCEPT_EMPTY;
    lb_add(&ctx->row->accept_errors, 1);
    if (concerns_one_client(errno))
        return ACCEPT_MORE;
    if (lb_is_shortage(errno))
        lb_tell_shortage(ctx, UINT32_MAX, errno);
    pause_accepting(listeners, ctx, lb_now_ms(ctx) + ERROR_PAUSE_MS);
    return ACCEPT_LATER;
}

void lb_listeners_event(struct lb_listeners *listeners, struct lb_worker_context *ctx, uint32_t listener)
{
    if (listeners->paused || listener >= listeners->count || listeners->at[listener].fd < 0)
        return;
    for (int i = 0; i < ACCEPTS_PER_EVENT; i++)
        if (accept_one(listeners, ctx, listener) != ACCEPT_MORE)
            return;
}

void lb_listeners_remove(struct lb_listeners *listeners, struct lb_worker_context *ctx, uint32_t listener, int ends)
{
    enum accepted last;
    if (listener >= listeners->count || listeners->at[listener].fd < 0)
        return;
    do
        last = accept_one(listeners, ctx, listener);
    while (last == ACCEPT_MORE);
    listeners->at[listener].closing = 1;
    listeners->at[listener].ends |= (uint8_t)ends;
    if (last == ACCEPT_LATER)
        return;
    /* closing alone would not do: a socket that was inherited lives on elsewhere, and would go on sending us events (epoll(7)) */
    lb_loop_unwatch(&ctx->loop, listeners->at[listener].fd);
    if (listeners->at[listener].own && listeners->at[listener].ends)
        (void)shutdown(listeners->at[listener].fd, SHUT_RDWR);
    close(listeners->at[listener].fd);
    listeners->at[listener].fd = -1;
    listeners->open--;
}

void lb_listeners_resume(struct lb_listeners *listeners, struct lb_worker_context *ctx)
{
    if (!listeners->paused || !has_room(ctx) || lb_now_ms(ctx) < listeners->retry_ms)
        return;
    listeners->paused = 0;
    listeners->retry_ms = 0;
    set_interest(listeners, ctx, EPOLLIN);
    for (uint32_t i = 0; i < listeners->count; i++)
        if (listeners->at[i].closing)
            lb_listeners_remove(listeners, ctx, i, 0);
}

int lb_listeners_wait(const struct lb_listeners *listeners, const struct lb_worker_context *ctx)
{
    if (!listeners->paused || !listeners->retry_ms)
        return -1;
    uint64_t now_ms = lb_now_ms(ctx);
    return listeners->retry_ms > now_ms ? (int)(listeners->retry_ms - now_ms) : 0;
}
