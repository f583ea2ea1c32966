#include "preread.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/io.h"
#include "admit.h"
#include "handshake.h"
#include "plain_http.h"
#include "preread_end.h"
#include "proxy_protocol.h"

enum next { NEXT_WAIT, NEXT_AGAIN, NEXT_OVER };

static const struct lb_listener_row *listener_of(const struct lb_prereads *prereads, const struct lb_preread *preread)
{
    return &prereads->ctx->shm.listeners[preread->accepted.listener];
}

static int says_header(const struct lb_worker_context *ctx, uint32_t listener, const union lb_address *peer)
{
    const struct lb_listener_row *row = &ctx->shm.listeners[listener];
    return row->accept_proxy && lb_listener_trusts(row, peer);
}

int lb_preread_is_due(const struct lb_worker_context *ctx, uint32_t listener, const union lb_address *peer)
{
    const struct lb_listener_row *row = &ctx->shm.listeners[listener];
    return row->terminates || row->mode == LB_MODE_TLS || says_header(ctx, listener, peer);
}

static enum next refuse(struct lb_prereads *prereads, struct lb_preread *preread, enum lb_end why)
{
    lb_preread_refuse(prereads, preread, why);
    return NEXT_OVER;
}

static enum next refuse_words(struct lb_prereads *prereads, struct lb_preread *preread)
{
    return refuse(prereads, preread, LB_ENDED_PREREAD);
}

/* Its words are said. */
static enum next go_on(struct lb_prereads *prereads, struct lb_preread *preread)
{
    if (listener_of(prereads, preread)->terminates)
        lb_handshake_begin(prereads, preread);
    else
        lb_preread_hand_on(prereads, preread);
    return NEXT_OVER;
}

/* --- what it says --------------------------------------------------------------------------------------------------- */

static void take_address(union lb_address *to, const struct sockaddr_storage *from)
{
    memcpy(to, from, from->ss_family == AF_INET6 ? sizeof to->v6 : sizeof to->v4);
}

static enum next take_header(struct lb_prereads *prereads, struct lb_preread *preread, uint32_t count)
{
    struct lb_proxy_told told;
    char *bytes = prereads->ctx->scratch;
    switch (lb_proxy_read(&told, (const uint8_t *)bytes, count)) {
    case LB_PROXY_MORE:
        return NEXT_WAIT;
    case LB_PROXY_BAD:
        return refuse_words(prereads, preread);
    case LB_PROXY_DONE:
        break;
    }
    if (lb_recv(preread->accepted.fd, bytes, told.bytes) != (ssize_t)told.bytes)
        return refuse_words(prereads, preread);
    if (told.from.ss_family != AF_UNSPEC) {
        take_address(&preread->accepted.ends.client, &told.from);
        take_address(&preread->accepted.ends.here, &told.to);
    }
    if (!lb_admit(prereads->ctx, preread->accepted.listener, &preread->accepted.ends, LB_ASKED_NAMED)) {
        int fd = preread->accepted.fd;
        lb_preread_let_go(prereads, preread);
        lb_net_reset(fd);
        return NEXT_OVER;
    }
    if ((told.tls || told.authority_length || told.alpn_length) &&
        lb_proxy_info_keep(&prereads->ctx->proxy_info, &preread->accepted.ends, &told, bytes) < 0)
        return refuse(prereads, preread, LB_ENDED_RESOURCE);
    if (listener_of(prereads, preread)->mode != LB_MODE_TLS)
        return go_on(prereads, preread);
    preread->stage = LB_PREREAD_HELLO;
    return NEXT_AGAIN;
}

static enum next look_at_hello(struct lb_prereads *prereads, struct lb_preread *preread, uint32_t count)
{
    struct lb_hello hello;
    switch (lb_hello_read(&hello, (const uint8_t *)prereads->ctx->scratch, count)) {
    case LB_HELLO_MORE:
        return NEXT_WAIT;
    case LB_HELLO_DONE:
        preread->accepted.pool =
            prereads->named(prereads->context, preread->accepted.listener, &hello, &preread->accepted.ends.client);
        return go_on(prereads, preread);
    default:
        lb_refusal_note(prereads->ctx, &preread->accepted, lb_first_words_refused(lb_first_words(prereads->ctx->scratch, count)));
        return refuse_words(prereads, preread);
    }
}

static enum next step(struct lb_prereads *prereads, struct lb_preread *preread)
{
    ssize_t got = lb_peek(preread->accepted.fd, prereads->ctx->scratch, LB_SCRATCH_BYTES);
    if (got < 0 && errno == EAGAIN)
        return NEXT_WAIT;
    if (got <= 0)
        return refuse(prereads, preread, LB_ENDED_CLIENT_EARLY);
    if (preread->stage == LB_PREREAD_HEADER)
        return take_header(prereads, preread, (uint32_t)got);
    return look_at_hello(prereads, preread, (uint32_t)got);
}

static enum next listen_to(struct lb_prereads *prereads, struct lb_preread *preread)
{
    enum next next;
    do
        next = step(prereads, preread);
    while (next == NEXT_AGAIN);
    return next;
}

/* --- its life ------------------------------------------------------------------------------------------------------- */

static enum lb_preread_stage first_stage(const struct lb_worker_context *ctx, uint32_t listener, const union lb_address *peer)
{
    if (says_header(ctx, listener, peer))
        return LB_PREREAD_HEADER;
    return ctx->shm.listeners[listener].mode == LB_MODE_TLS ? LB_PREREAD_HELLO : LB_PREREAD_SHAKE;
}

void lb_preread_open(struct lb_prereads *prereads, const struct lb_accepted *accepted)
{
    struct lb_worker_context *ctx = prereads->ctx;
    uint32_t listener = accepted->listener;
    const struct lb_listener_row *row = &ctx->shm.listeners[listener];
    uint32_t index = lb_slab_take(&prereads->slab);
    struct lb_preread *preread = lb_preread_at(prereads, index);
    *preread = (struct lb_preread){
        .accepted = *accepted,
        .generation = preread->generation,
        .live = 1,
        .stage = (uint8_t)first_stage(ctx, listener, &accepted->ends.client),
    };
    uint32_t events = EPOLLIN | EPOLLRDHUP | EPOLLET | (row->terminates ? EPOLLOUT : 0);
    ctx->prereads++;
    lb_timer_set(&prereads->wheel, &preread->timer, lb_now_ms(ctx) + row->header_timeout_ms);
    if (lb_loop_watch(&ctx->loop, accepted->fd, events, lb_tag_of(LB_TAG_PREREAD, index, preread->generation)) < 0)
        (void)refuse(prereads, preread, LB_ENDED_RESOURCE);
    /* what has come already is told by the first event */
}

void lb_preread_event(struct lb_prereads *prereads, uint32_t index, uint32_t generation, uint32_t events)
{
    struct lb_preread *preread = lb_preread_at(prereads, index);
    if (index >= prereads->slab.touched || !preread->live || preread->generation != generation)
        return;
    if (preread->stage == LB_PREREAD_TOLD)
        lb_plain_http_throw_away(prereads, preread);
    else if (preread->stage == LB_PREREAD_SHAKE)
        lb_handshake_event(prereads, preread, events);
    else if (events != EPOLLOUT && listen_to(prereads, preread) == NEXT_WAIT && events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        (void)refuse(prereads, preread, LB_ENDED_CLIENT_EARLY); /* the rest will never come */
}

static void fire(void *context, struct lb_timer *timer)
{
    struct lb_prereads *prereads = context;
    struct lb_preread *preread = (struct lb_preread *)(void *)timer;
    lb_preread_refuse(prereads, preread, preread->stage >= LB_PREREAD_SHAKE ? LB_ENDED_HANDSHAKE : LB_ENDED_PREREAD);
}

void lb_prereads_turn(struct lb_prereads *prereads)
{
    lb_handshakes_turn(prereads);
    lb_wheel_turn(&prereads->wheel, lb_now_ms(prereads->ctx), fire, prereads);
}

int lb_prereads_wait(const struct lb_prereads *prereads)
{
    int handshakes = lb_handshakes_wait(prereads), timers = lb_wheel_wait(&prereads->wheel, lb_now_ms(prereads->ctx));
    return handshakes < 0 || (timers >= 0 && timers < handshakes) ? timers : handshakes;
}

void lb_prereads_stop(struct lb_prereads *prereads)
{
    for (uint32_t i = 0; i < prereads->slab.touched; i++) {
        struct lb_preread *preread = lb_preread_at(prereads, i);
        if (preread->live)
            lb_preread_refuse(prereads, preread, LB_ENDED_RESOURCE);
    }
}

int lb_prereads_open(struct lb_prereads *prereads, struct lb_worker_context *ctx, uint32_t most, uint32_t most_shaking)
{
    static const struct lb_preread_list none = {LB_SLAB_NONE, LB_SLAB_NONE, 0};
    prereads->ctx = ctx;
    prereads->ready = prereads->waiting = none;
    prereads->eldest = prereads->youngest = LB_SLAB_NONE;
    prereads->most_shaking = most_shaking;
    lb_wheel_open(&prereads->wheel, lb_now_ms(ctx));
    return lb_slab_open(&prereads->slab, sizeof(struct lb_preread), most);
}

void lb_prereads_close(struct lb_prereads *prereads)
{
    lb_slab_close(&prereads->slab);
}
