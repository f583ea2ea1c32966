/* TLS handshakes of clients. Each costs a private key's work, up to a millisecond: a turn makes as many as it has time for, the rest waits
 * for the next, so that those who are served already are not kept waiting. */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include "greeting.h"

enum {
    TURN_US = 2000,    /* that handshakes may take of a turn */
    STALLED_MS = 1000, /* who has been silent for so long makes room, where others wait for it; the more wait, the sooner */
    SHORTEST_MS = 100,
};

/* --- lists ---------------------------------------------------------------------------------------------------------- */

static void append(struct lb_greetings *greetings, struct lb_greeting_list *list, struct lb_greeting *greeting)
{
    uint32_t index = lb_greeting_index(greetings, greeting);
    if (greeting->queued)
        return;
    greeting->queued = 1;
    list->count++;
    greeting->next = LB_SLAB_NONE;
    if (list->first == LB_SLAB_NONE)
        list->first = index;
    else
        lb_greeting_at(greetings, list->last)->next = index;
    list->last = index;
}

/* To begin a handshake. At the bound the newest is the next: behind those who came to stall, nobody would ever be served. */
static void wait_turn(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    struct lb_greeting_list *list = &greetings->waiting;
    if (list->first == LB_SLAB_NONE || greetings->shaking < greetings->most_shaking) {
        append(greetings, list, greeting);
        return;
    }
    if (greeting->queued)
        return;
    greeting->queued = 1;
    list->count++;
    greeting->next = list->first;
    list->first = lb_greeting_index(greetings, greeting);
}

static void drop_first(struct lb_greetings *greetings, struct lb_greeting_list *list)
{
    struct lb_greeting *greeting = lb_greeting_at(greetings, list->first);
    list->first = greeting->next;
    list->count--;
    greeting->queued = 0;
}

/* The next that is still alive, left in its place, or NULL. */
static struct lb_greeting *first_alive(struct lb_greetings *greetings, struct lb_greeting_list *list)
{
    while (list->first != LB_SLAB_NONE) {
        uint32_t index = list->first;
        struct lb_greeting *greeting = lb_greeting_at(greetings, index);
        if (greeting->live)
            return greeting;
        drop_first(greetings, list);
        lb_greeting_give(greetings, index);
    }
    return NULL;
}

/* --- those under way ------------------------------------------------------------------------------------------------ */

/* Behind all others: it has just been heard of. */
static void link_youngest(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    uint32_t index = lb_greeting_index(greetings, greeting);
    greeting->since_ms = (uint32_t)lb_now_ms(greetings->plane);
    greeting->newer = LB_SLAB_NONE;
    greeting->older = greetings->youngest;
    if (greetings->youngest != LB_SLAB_NONE)
        lb_greeting_at(greetings, greetings->youngest)->newer = index;
    else
        greetings->eldest = index;
    greetings->youngest = index;
}

static void unlink_young(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    if (greeting->older != LB_SLAB_NONE)
        lb_greeting_at(greetings, greeting->older)->newer = greeting->newer;
    else
        greetings->eldest = greeting->newer;
    if (greeting->newer != LB_SLAB_NONE)
        lb_greeting_at(greetings, greeting->newer)->older = greeting->older;
    else
        greetings->youngest = greeting->older;
}

static void enter(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    link_youngest(greetings, greeting);
    greeting->shaking = 1;
    greetings->shaking++;
    lb_add(&greetings->plane->row->handshakes_active, 1);
}

void lb_handshake_forget(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    if (!greeting->shaking)
        return;
    unlink_young(greetings, greeting);
    greeting->shaking = 0;
    greetings->shaking--;
    lb_add(&greetings->plane->row->handshakes_active, UINT64_MAX);
}

/* How long may a client be silent, when so many others wait? */
static uint32_t patience_ms(const struct lb_greetings *greetings)
{
    uint64_t most = greetings->most_shaking, share_ms = STALLED_MS * most / (most + greetings->waiting.count);
    return share_ms > SHORTEST_MS ? (uint32_t)share_ms : SHORTEST_MS;
}

/* At the bound, the one that has been silent for longest gives its place to one that waits. */
static int has_room(struct lb_greetings *greetings)
{
    if (greetings->shaking < greetings->most_shaking)
        return 1;
    struct lb_greeting *eldest = lb_greeting_at(greetings, greetings->eldest);
    if ((uint32_t)lb_now_ms(greetings->plane) - eldest->since_ms < patience_ms(greetings))
        return 0;
    lb_greeting_refuse(greetings, eldest, &greetings->plane->row->refused_handshake);
    return 1;
}

/* --- one handshake -------------------------------------------------------------------------------------------------- */

/* Of a client that has left in the middle there is nothing to tell. */
static void tell_failure(struct lb_greetings *greetings, const struct lb_greeting *greeting)
{
    const struct lb_tls *tls = greeting->newcomer.tls;
    char words[sizeof((struct lb_refusal *)NULL)->words];
    if (tls->ended || tls->error)
        return;
    if (greeting->words == LB_WORDS_OTHER)
        (void)snprintf(words, sizeof words, "%s", lb_first_words_refused(LB_WORDS_OTHER));
    else
        lb_tls_failure_words(tls, words, sizeof words);
    lb_refusal_note(greetings->plane, &greeting->newcomer, words);
}

static void go_on(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    struct lb_worker_row *row = greetings->plane->row;
    struct lb_tls *tls = greeting->newcomer.tls;
    switch (lb_tls_shake(tls)) {
    case LB_TLS_WAIT:
        unlink_young(greetings, greeting);
        link_youngest(greetings, greeting);
        if (greeting->gone)
            lb_greeting_refuse(greetings, greeting, &row->refused_client_left);
        return;
    case LB_TLS_FAILED:
        tell_failure(greetings, greeting);
        lb_greeting_refuse(greetings, greeting, tls->ended || tls->error ? &row->refused_client_left : &row->refused_handshake);
        return;
    case LB_TLS_DONE:
        break;
    }
    lb_add(&row->handshakes, 1);
    if (lb_tls_resumed(tls))
        lb_add(&row->handshakes_resumed, 1);
    lb_greeting_hand_on(greetings, greeting);
}

/* What it begins with: is that to be left to OpenSSL? */
static int begins_with_tls(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    enum { ENOUGH = 32 };
    const struct lb_listener_row *row = &greetings->plane->shm.listeners[greeting->newcomer.listener];
    char bytes[ENOUGH];
    ssize_t got = recv(greeting->newcomer.fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    enum lb_first_words words = lb_first_words(bytes, got > 0 ? (uint32_t)got : 0);
    greeting->words = (uint8_t)words;
    if (words == LB_WORDS_PART && !greeting->gone)
        return 0; /* the next bytes are an event */
    if (words != LB_WORDS_HTTP || row->mode != LB_MODE_HTTPS)
        return 1;
    lb_greeting_tell_plain(greetings, greeting, bytes, (uint32_t)got);
    return 0;
}

static void start(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    struct lb_plane *plane = greetings->plane;
    if (!begins_with_tls(greetings, greeting))
        return;
    struct lb_tls_context *context = lb_tls_listener(&plane->tls, greeting->newcomer.listener);
    if (context)
        greeting->newcomer.tls = lb_tls_accept(&plane->tls.shared, context, greeting->newcomer.fd);
    if (!greeting->newcomer.tls) {
        lb_greeting_refuse(greetings, greeting, &plane->row->refused_resource);
        return;
    }
    (void)lb_tls_note(greeting->newcomer.tls, 1, 1, greeting->gone);
    enter(greetings, greeting);
    go_on(greetings, greeting);
}

void lb_handshake_begin(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    greeting->stage = LB_GREETING_SHAKE;
    wait_turn(greetings, greeting);
}

/* Where places are short, one is given only to a whole ClientHello: half of one costs its sender nothing. */
static int has_said_enough(struct lb_greetings *greetings, const struct lb_greeting *greeting)
{
    struct lb_hello hello;
    char *bytes = greetings->plane->scratch;
    if (greetings->shaking < greetings->most_shaking / 4 || greeting->gone)
        return 1;
    ssize_t got = recv(greeting->newcomer.fd, bytes, LB_SCRATCH_BYTES, MSG_PEEK | MSG_DONTWAIT);
    return got <= 0 || lb_hello_read(&hello, (const uint8_t *)bytes, (uint32_t)got) != LB_HELLO_MORE;
}

void lb_handshake_event(struct lb_greetings *greetings, struct lb_greeting *greeting, uint32_t events)
{
    int hung_up = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    greeting->gone |= (uint8_t)hung_up;
    if (!greeting->newcomer.tls) {
        if (events & (EPOLLHUP | EPOLLERR))
            lb_greeting_refuse(greetings, greeting, &greetings->plane->row->refused_client_left);
        else if (events & (EPOLLIN | EPOLLRDHUP) && has_said_enough(greetings, greeting))
            wait_turn(greetings, greeting);
        return;
    }
    (void)lb_tls_note(greeting->newcomer.tls, (events & ~(uint32_t)EPOLLOUT) != 0, (events & EPOLLOUT) != 0, hung_up);
    append(greetings, &greetings->ready, greeting);
}

/* --- a turn --------------------------------------------------------------------------------------------------------- */

void lb_handshakes_turn(struct lb_greetings *greetings)
{
    struct lb_greeting *greeting;
    if (greetings->ready.first == LB_SLAB_NONE && greetings->waiting.first == LB_SLAB_NONE)
        return;
    uint64_t until_us = lb_net_now_us() + TURN_US;
    do {
        if ((greeting = first_alive(greetings, &greetings->ready))) {
            drop_first(greetings, &greetings->ready);
            go_on(greetings, greeting);
        } else if ((greeting = first_alive(greetings, &greetings->waiting)) && has_room(greetings)) {
            drop_first(greetings, &greetings->waiting);
            start(greetings, greeting);
        } else {
            return;
        }
    } while (lb_net_now_us() < until_us);
}

int lb_handshakes_wait(const struct lb_greetings *greetings)
{
    enum { LOOK_AGAIN_MS = 50 };
    if (greetings->ready.first != LB_SLAB_NONE)
        return 0;
    if (greetings->waiting.first == LB_SLAB_NONE)
        return -1;
    return greetings->shaking < greetings->most_shaking ? 0 : LOOK_AGAIN_MS;
}
