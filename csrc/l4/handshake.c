#include "handshake.h"

#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "../tls/handshake.h"
#include "../tls/stream.h"
#include "plain_http.h"
#include "preread_end.h"

enum {
    TURN_US = 2000,    /* that handshakes may take of a turn */
    STALLED_MS = 1000, /* who has been silent for so long makes room, where others wait for it; the more wait, the sooner */
    SHORTEST_MS = 100,
};

/* How long may a client be silent, when so many others wait? */
static uint32_t patience_ms(const struct lb_prereads *prereads)
{
    uint64_t most = prereads->most_shaking, share_ms = STALLED_MS * most / (most + prereads->waiting.count);
    return share_ms > SHORTEST_MS ? (uint32_t)share_ms : SHORTEST_MS;
}

/* At the bound, the one that has been silent for longest gives its place to one that waits. */
static int has_room(struct lb_prereads *prereads)
{
    if (prereads->shaking < prereads->most_shaking)
        return 1;
    struct lb_preread *eldest = lb_preread_at(prereads, prereads->eldest);
    if ((uint32_t)lb_now_ms(prereads->ctx) - eldest->since_ms < patience_ms(prereads))
        return 0;
    lb_preread_refuse(prereads, eldest, LB_ENDED_HANDSHAKE);
    return 1;
}

/* --- one handshake -------------------------------------------------------------------------------------------------- */

/* Of a client that has left in the middle there is nothing to tell. */
static void log_failure(struct lb_prereads *prereads, const struct lb_preread *preread)
{
    const struct lb_tls *tls = preread->accepted.tls;
    char words[sizeof((struct lb_refusal *)NULL)->words];
    if (tls->ended || tls->error)
        return;
    if (preread->words == LB_WORDS_OTHER)
        (void)snprintf(words, sizeof words, "%s", lb_first_words_refused(LB_WORDS_OTHER));
    else
        lb_tls_failure_words(tls, words, sizeof words);
    lb_refusal_note(prereads->ctx, &preread->accepted, words);
}

static void go_on(struct lb_prereads *prereads, struct lb_preread *preread)
{
    struct lb_worker_row *row = prereads->ctx->row;
    struct lb_tls *tls = preread->accepted.tls;
    switch (lb_tls_shake(tls)) {
    case LB_TLS_WAIT:
        lb_preread_went_on(prereads, preread);
        if (preread->gone)
            lb_preread_refuse(prereads, preread, LB_ENDED_CLIENT_EARLY);
        return;
    case LB_TLS_FAILED:
        log_failure(prereads, preread);
        lb_preread_refuse(prereads, preread, tls->ended || tls->error ? LB_ENDED_CLIENT_EARLY : LB_ENDED_HANDSHAKE);
        return;
    case LB_TLS_DONE:
        break;
    }
    lb_add(&row->handshakes, 1);
    if (lb_tls_resumed(tls))
        lb_add(&row->handshakes_resumed, 1);
    lb_preread_hand_on(prereads, preread);
}

/* What it begins with: is that to be left to OpenSSL? */
static int begins_with_tls(struct lb_prereads *prereads, struct lb_preread *preread)
{
    enum { ENOUGH = 32 };
    const struct lb_listener_row *row = &prereads->ctx->shm.listeners[preread->accepted.listener];
    char bytes[ENOUGH];
    ssize_t got = recv(preread->accepted.fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    enum lb_first_words words = lb_first_words(bytes, got > 0 ? (uint32_t)got : 0);
    preread->words = (uint8_t)words;
    if (words == LB_WORDS_PART && !preread->gone)
        return 0; /* the next bytes are an event */
    if (words != LB_WORDS_HTTP || row->mode != LB_MODE_HTTPS)
        return 1;
    lb_plain_http_tell(prereads, preread, bytes, (uint32_t)got);
    return 0;
}

static void start(struct lb_prereads *prereads, struct lb_preread *preread)
{
    struct lb_worker_context *ctx = prereads->ctx;
    if (!begins_with_tls(prereads, preread))
        return;
    struct lb_tls_context *context = lb_tls_listener(&ctx->tls, preread->accepted.listener);
    if (context)
        preread->accepted.tls = lb_tls_accept(&ctx->tls.shared, context, preread->accepted.fd);
    if (!preread->accepted.tls) {
        lb_preread_refuse(prereads, preread, LB_ENDED_RESOURCE);
        return;
    }
    (void)lb_tls_note(preread->accepted.tls, 1, 1, preread->gone);
    lb_preread_shakes(prereads, preread);
    go_on(prereads, preread);
}

void lb_handshake_begin(struct lb_prereads *prereads, struct lb_preread *preread)
{
    preread->stage = LB_PREREAD_SHAKE;
    lb_preread_wait_turn(prereads, preread);
}

/* Where places are short, one is given only to a whole ClientHello: half of one costs its sender nothing. */
static int has_said_enough(struct lb_prereads *prereads, const struct lb_preread *preread)
{
    struct lb_hello hello;
    char *bytes = prereads->ctx->scratch;
    if (prereads->shaking < prereads->most_shaking / 4 || preread->gone)
        return 1;
    ssize_t got = recv(preread->accepted.fd, bytes, LB_SCRATCH_BYTES, MSG_PEEK | MSG_DONTWAIT);
    return got <= 0 || lb_hello_read(&hello, (const uint8_t *)bytes, (uint32_t)got) != LB_HELLO_MORE;
}

void lb_handshake_event(struct lb_prereads *prereads, struct lb_preread *preread, uint32_t events)
{
    int hung_up = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    preread->gone |= (uint8_t)hung_up;
    if (!preread->accepted.tls) {
        if (events & (EPOLLHUP | EPOLLERR))
            lb_preread_refuse(prereads, preread, LB_ENDED_CLIENT_EARLY);
        else if (events & (EPOLLIN | EPOLLRDHUP) && has_said_enough(prereads, preread))
            lb_preread_wait_turn(prereads, preread);
        return;
    }
    (void)lb_tls_note(preread->accepted.tls, (events & ~(uint32_t)EPOLLOUT) != 0, (events & EPOLLOUT) != 0, hung_up);
    lb_preread_append(prereads, &prereads->ready, preread);
}

/* --- a turn --------------------------------------------------------------------------------------------------------- */

void lb_handshakes_turn(struct lb_prereads *prereads)
{
    struct lb_preread *preread;
    if (prereads->ready.first == LB_SLAB_NONE && prereads->waiting.first == LB_SLAB_NONE)
        return;
    uint64_t until_us = lb_net_now_us() + TURN_US;
    do {
        if ((preread = lb_preread_first_alive(prereads, &prereads->ready))) {
            lb_preread_drop_first(prereads, &prereads->ready);
            go_on(prereads, preread);
        } else if ((preread = lb_preread_first_alive(prereads, &prereads->waiting)) && has_room(prereads)) {
            lb_preread_drop_first(prereads, &prereads->waiting);
            start(prereads, preread);
        } else {
            return;
        }
    } while (lb_net_now_us() < until_us);
}

int lb_handshakes_wait(const struct lb_prereads *prereads)
{
    enum { LOOK_AGAIN_MS = 50 };
    if (prereads->ready.first != LB_SLAB_NONE)
        return 0;
    if (prereads->waiting.first == LB_SLAB_NONE)
        return -1;
    return prereads->shaking < prereads->most_shaking ? 0 : LOOK_AGAIN_MS;
}
