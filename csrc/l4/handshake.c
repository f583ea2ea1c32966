/* TLS handshakes of clients. Each costs a private key's work, up to a millisecond: a turn makes as many as it has time for, the rest waits
 * for the next, so that those who are served already are not kept waiting. */
#include <sys/epoll.h>

#include "greeting.h"

enum {
    TURN_US = 2000,    /* that handshakes may take of a turn */
    STALLED_MS = 1000, /* who has not answered for so long makes room, where others wait for it */
};

/* --- lists ---------------------------------------------------------------------------------------------------------- */

static void append(struct lb_greetings *greetings, struct lb_greeting_list *list, struct lb_greeting *greeting)
{
    uint32_t index = lb_greeting_index(greetings, greeting);
    if (greeting->queued)
        return;
    greeting->queued = 1;
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
    greeting->next = list->first;
    list->first = lb_greeting_index(greetings, greeting);
}

/* The next that is still alive, or NULL. */
static struct lb_greeting *take_first(struct lb_greetings *greetings, struct lb_greeting_list *list)
{
    while (list->first != LB_SLAB_NONE) {
        uint32_t index = list->first;
        struct lb_greeting *greeting = lb_greeting_at(greetings, index);
        list->first = greeting->next;
        greeting->queued = 0;
        if (greeting->live)
            return greeting;
        lb_greeting_give(greetings, index);
    }
    return NULL;
}

/* --- those under way ------------------------------------------------------------------------------------------------ */

static void enter(struct lb_greetings *greetings, struct lb_greeting *greeting)
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
    greeting->shaking = 1;
    greetings->shaking++;
    lb_add(&greetings->plane->row->handshakes_active, 1);
}

void lb_handshake_forget(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    if (!greeting->shaking)
        return;
    if (greeting->older != LB_SLAB_NONE)
        lb_greeting_at(greetings, greeting->older)->newer = greeting->newer;
    else
        greetings->eldest = greeting->newer;
    if (greeting->newer != LB_SLAB_NONE)
        lb_greeting_at(greetings, greeting->newer)->older = greeting->older;
    else
        greetings->youngest = greeting->older;
    greeting->shaking = 0;
    greetings->shaking--;
    lb_add(&greetings->plane->row->handshakes_active, UINT64_MAX);
}

/* At the bound, one that has stalled gives its place to one that waits. */
static int has_room(struct lb_greetings *greetings)
{
    if (greetings->shaking < greetings->most_shaking)
        return 1;
    struct lb_greeting *eldest = lb_greeting_at(greetings, greetings->eldest);
    if ((uint32_t)lb_now_ms(greetings->plane) - eldest->since_ms < STALLED_MS)
        return 0;
    lb_greeting_refuse(greetings, eldest, &greetings->plane->row->refused_handshake);
    return 1;
}

/* --- one handshake -------------------------------------------------------------------------------------------------- */

static void go_on(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    struct lb_worker_row *row = greetings->plane->row;
    struct lb_tls *tls = greeting->newcomer.tls;
    switch (lb_tls_shake(tls)) {
    case LB_TLS_WAIT:
        if (greeting->gone)
            lb_greeting_refuse(greetings, greeting, &row->refused_client_left);
        return;
    case LB_TLS_FAILED:
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

static void start(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    struct lb_plane *plane = greetings->plane;
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

void lb_handshake_event(struct lb_greetings *greetings, struct lb_greeting *greeting, uint32_t events)
{
    int hung_up = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    greeting->gone |= (uint8_t)hung_up;
    if (!greeting->newcomer.tls) {
        if (events & (EPOLLHUP | EPOLLERR))
            lb_greeting_refuse(greetings, greeting, &greetings->plane->row->refused_client_left);
        else if (events & (EPOLLIN | EPOLLRDHUP))
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
        if ((greeting = take_first(greetings, &greetings->ready)))
            go_on(greetings, greeting);
        else if (greetings->waiting.first != LB_SLAB_NONE && has_room(greetings) &&
                 (greeting = take_first(greetings, &greetings->waiting)))
            start(greetings, greeting);
        else
            return;
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
