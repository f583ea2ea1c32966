/* TLS handshakes of clients. Each costs a private key's work, up to a millisecond: a turn makes as many as it has time for, the rest waits
 * for the next, so that those who are served already are not kept waiting. */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "preread.h"

enum {
    TURN_US = 2000, /* that handshakes may take of a turn */
    STALLED_MS = 1000, /* who has been silent for so long makes room, where others wait for it; the more wait, the sooner */
    SHORTEST_MS = 100,
};

/* --- lists ---------------------------------------------------------------------------------------------------------- */

static void append(struct lb_prereads *prereads, struct lb_preread_list *list, struct lb_preread *preread)
{
    uint32_t index = lb_preread_index(prereads, preread);
    if (preread->queued)
        return;
    preread->queued = 1;
    list->count++;
    preread->next = LB_SLAB_NONE;
    if (list->first == LB_SLAB_NONE)
        list->first = index;
    else
        lb_preread_at(prereads, list->last)->next = index;
    list->last = index;
}

/* To begin a handshake. At the bound the newest is the next: behind those who came to stall, nobody would ever be served. */
static void wait_turn(struct lb_prereads *prereads, struct lb_preread *preread)
{
    struct lb_preread_list *list = &prereads->waiting;
    if (list->first == LB_SLAB_NONE || prereads->shaking < prereads->most_shaking) {
        append(prereads, list, preread);
        return;
    }
    if (preread->queued)
        return;
    preread->queued = 1;
    list->count++;
    preread->next = list->first;
    list->first = lb_preread_index(prereads, preread);
}

static void drop_first(struct lb_prereads *prereads, struct lb_preread_list *list)
{
    struct lb_preread *preread = lb_preread_at(prereads, list->first);
    list->first = preread->next;
    list->count--;
    preread->queued = 0;
}

/* The next that is still alive, left in its place, or NULL. */
static struct lb_preread *first_alive(struct lb_prereads *prereads, struct lb_preread_list *list)
{
    while (list->first != LB_SLAB_NONE) {
        uint32_t index = list->first;
        struct lb_preread *preread = lb_preread_at(prereads, index);
        if (preread->live)
            return preread;
        drop_first(prereads, list);
        lb_preread_give(prereads, index);
    }
    return NULL;
}

/* --- those under way ------------------------------------------------------------------------------------------------ */

/* Behind all others: it has just been heard of. */
static void link_youngest(struct lb_prereads *prereads, struct lb_preread *preread)
{
    uint32_t index = lb_preread_index(prereads, preread);
    preread->since_ms = (uint32_t)lb_now_ms(prereads->ctx);
    preread->newer = LB_SLAB_NONE;
    preread->older = prereads->youngest;
    if (prereads->youngest != LB_SLAB_NONE)
        lb_preread_at(prereads, prereads->youngest)->newer = index;
    else
        prereads->eldest = index;
    prereads->youngest = index;
}

static void unlink_young(struct lb_prereads *prereads, struct lb_preread *preread)
{
    if (preread->older != LB_SLAB_NONE)
        lb_preread_at(prereads, preread->older)->newer = preread->newer;
    else
        prereads->eldest = preread->newer;
    if (preread->newer != LB_SLAB_NONE)
        lb_preread_at(prereads, preread->newer)->older = preread->older;
    else
        prereads->youngest = preread->older;
}

static void enter(struct lb_prereads *prereads, struct lb_preread *preread)
{
    link_youngest(prereads, preread);
    preread->shaking = 1;
    prereads->shaking++;
    lb_add(&prereads->ctx->row->handshakes_active, 1);
}

void lb_handshake_forget(struct lb_prereads *prereads, struct lb_preread *preread)
{
    if (!preread->shaking)
        return;
    unlink_young(prereads, preread);
    preread->shaking = 0;
    prereads->shaking--;
    lb_add(&prereads->ctx->row->handshakes_active, UINT64_MAX);
}

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
    lb_preread_refuse(prereads, eldest, &prereads->ctx->row->refused_handshake);
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
        unlink_young(prereads, preread);
        link_youngest(prereads, preread);
        if (preread->gone)
            lb_preread_refuse(prereads, preread, &row->refused_client_aborts);
        return;
    case LB_TLS_FAILED:
        log_failure(prereads, preread);
        lb_preread_refuse(prereads, preread, tls->ended || tls->error ? &row->refused_client_aborts : &row->refused_handshake);
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
    lb_preread_tell_plain(prereads, preread, bytes, (uint32_t)got);
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
        lb_preread_refuse(prereads, preread, &ctx->row->refused_resource);
        return;
    }
    (void)lb_tls_note(preread->accepted.tls, 1, 1, preread->gone);
    enter(prereads, preread);
    go_on(prereads, preread);
}

void lb_handshake_begin(struct lb_prereads *prereads, struct lb_preread *preread)
{
    preread->stage = LB_PREREAD_SHAKE;
    wait_turn(prereads, preread);
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
            lb_preread_refuse(prereads, preread, &prereads->ctx->row->refused_client_aborts);
        else if (events & (EPOLLIN | EPOLLRDHUP) && has_said_enough(prereads, preread))
            wait_turn(prereads, preread);
        return;
    }
    (void)lb_tls_note(preread->accepted.tls, (events & ~(uint32_t)EPOLLOUT) != 0, (events & EPOLLOUT) != 0, hung_up);
    append(prereads, &prereads->ready, preread);
}

/* --- a turn --------------------------------------------------------------------------------------------------------- */

void lb_handshakes_turn(struct lb_prereads *prereads)
{
    struct lb_preread *preread;
    if (prereads->ready.first == LB_SLAB_NONE && prereads->waiting.first == LB_SLAB_NONE)
        return;
    uint64_t until_us = lb_net_now_us() + TURN_US;
    do {
        if ((preread = first_alive(prereads, &prereads->ready))) {
            drop_first(prereads, &prereads->ready);
            go_on(prereads, preread);
        } else if ((preread = first_alive(prereads, &prereads->waiting)) && has_room(prereads)) {
            drop_first(prereads, &prereads->waiting);
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
