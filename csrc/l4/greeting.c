#include "greeting.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../core/io.h"
#include "admit.h"
#include "proxy_protocol.h"

enum next { NEXT_WAIT, NEXT_AGAIN, NEXT_OVER };

struct lb_greeting *lb_greeting_at(const struct lb_greetings *greetings, uint32_t index)
{
    return lb_slab_at(&greetings->slab, index);
}

uint32_t lb_greeting_index(const struct lb_greetings *greetings, const struct lb_greeting *greeting)
{
    return (uint32_t)((size_t)((const char *)greeting - greetings->slab.memory) / sizeof *greeting);
}

static const struct lb_listener_row *listener_of(const struct lb_greetings *greetings, const struct lb_greeting *greeting)
{
    return &greetings->plane->shm.listeners[greeting->newcomer.listener];
}

static int says_header(const struct lb_plane *plane, uint32_t listener, const union lb_address *peer)
{
    const struct lb_listener_row *row = &plane->shm.listeners[listener];
    return row->accept_proxy && lb_listener_trusts(row, peer);
}

int lb_greeting_is_due(const struct lb_plane *plane, uint32_t listener, const union lb_address *peer)
{
    const struct lb_listener_row *row = &plane->shm.listeners[listener];
    return row->terminates || row->mode == LB_MODE_TLS || says_header(plane, listener, peer);
}

/* --- the end -------------------------------------------------------------------------------------------------------- */

void lb_greeting_give(struct lb_greetings *greetings, uint32_t index)
{
    lb_slab_give(&greetings->slab, index);
}

static void let_go(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    lb_handshake_forget(greetings, greeting);
    lb_timer_cancel(&greeting->timer);
    greeting->live = 0;
    greeting->generation++;
    greetings->plane->greetings--;
    if (!greeting->queued) /* else the list gives it back */
        lb_greeting_give(greetings, lb_greeting_index(greetings, greeting));
}

void lb_greeting_refuse(struct lb_greetings *greetings, struct lb_greeting *greeting, uint64_t *reason)
{
    struct lb_side client = {.fd = greeting->newcomer.fd, .tls = greeting->newcomer.tls};
    lb_ends_drop(greetings->plane, &greeting->newcomer.ends);
    let_go(greetings, greeting);
    lb_count_refused(greetings->plane, reason);
    lb_side_close(&client, 0);
}

static enum next refuse(struct lb_greetings *greetings, struct lb_greeting *greeting, uint64_t *reason)
{
    lb_greeting_refuse(greetings, greeting, reason);
    return NEXT_OVER;
}

static enum next refuse_words(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    return refuse(greetings, greeting, &greetings->plane->row->refused_greeting);
}

void lb_greeting_hand_on(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    struct lb_newcomer newcomer = greeting->newcomer;
    newcomer.watched = 1;
    let_go(greetings, greeting);
    greetings->done(greetings->context, &newcomer);
}

/* Its words are said. */
static enum next go_on(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    if (listener_of(greetings, greeting)->terminates)
        lb_handshake_begin(greetings, greeting);
    else
        lb_greeting_hand_on(greetings, greeting);
    return NEXT_OVER;
}

/* --- what it says --------------------------------------------------------------------------------------------------- */

static void take_address(union lb_address *to, const struct sockaddr_storage *from)
{
    memcpy(to, from, from->ss_family == AF_INET6 ? sizeof to->v6 : sizeof to->v4);
}

static enum next take_header(struct lb_greetings *greetings, struct lb_greeting *greeting, uint32_t count)
{
    struct lb_proxy_told told;
    char *bytes = greetings->plane->scratch;
    switch (lb_proxy_read(&told, (const uint8_t *)bytes, count)) {
    case LB_PROXY_MORE:
        return NEXT_WAIT;
    case LB_PROXY_BAD:
        return refuse_words(greetings, greeting);
    case LB_PROXY_DONE:
        break;
    }
    if (lb_recv(greeting->newcomer.fd, bytes, told.bytes) != (ssize_t)told.bytes)
        return refuse_words(greetings, greeting);
    if (told.from.ss_family != AF_UNSPEC) {
        take_address(&greeting->newcomer.ends.client, &told.from);
        take_address(&greeting->newcomer.ends.here, &told.to);
    }
    if (!lb_admit(greetings->plane, greeting->newcomer.listener, &greeting->newcomer.ends)) {
        int fd = greeting->newcomer.fd;
        let_go(greetings, greeting);
        lb_net_reset(fd);
        return NEXT_OVER;
    }
    if ((told.tls || told.authority_length || told.alpn_length) &&
        lb_heard_keep(&greetings->plane->heard, &greeting->newcomer.ends, &told, bytes) < 0)
        return refuse(greetings, greeting, &greetings->plane->row->refused_resource);
    if (listener_of(greetings, greeting)->mode != LB_MODE_TLS)
        return go_on(greetings, greeting);
    greeting->stage = LB_GREETING_HELLO;
    return NEXT_AGAIN;
}

static enum next look_at_hello(struct lb_greetings *greetings, struct lb_greeting *greeting, uint32_t count)
{
    struct lb_hello hello;
    switch (lb_hello_read(&hello, (const uint8_t *)greetings->plane->scratch, count)) {
    case LB_HELLO_MORE:
        return NEXT_WAIT;
    case LB_HELLO_DONE:
        greeting->newcomer.pool = greetings->named(greetings->context, greeting->newcomer.listener, &hello);
        return go_on(greetings, greeting);
    default:
        lb_refusal_note(greetings->plane, &greeting->newcomer,
                        lb_first_words_refused(lb_first_words(greetings->plane->scratch, count)));
        return refuse_words(greetings, greeting);
    }
}

static ssize_t peek(int fd, char *bytes)
{
    ssize_t got;
    do
        got = recv(fd, bytes, LB_SCRATCH_BYTES, MSG_PEEK | MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    return got;
}

static enum next step(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    ssize_t got = peek(greeting->newcomer.fd, greetings->plane->scratch);
    if (got < 0 && errno == EAGAIN)
        return NEXT_WAIT;
    if (got <= 0)
        return refuse(greetings, greeting, &greetings->plane->row->refused_client_left);
    if (greeting->stage == LB_GREETING_HEADER)
        return take_header(greetings, greeting, (uint32_t)got);
    return look_at_hello(greetings, greeting, (uint32_t)got);
}

static enum next listen_to(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    enum next next;
    do
        next = step(greetings, greeting);
    while (next == NEXT_AGAIN);
    return next;
}

/* --- plain HTTP where TLS is spoken --------------------------------------------------------------------------------- */

/* As nginx does: who types http:// for https:// reads what is wrong. */
void lb_greeting_tell_plain(struct lb_greetings *greetings, struct lb_greeting *greeting, const char *bytes, uint32_t count)
{
    enum { LINGER_MS = 2000 };
    static const char head[] = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 75\r\n"
                               "Connection: close\r\n\r\n";
    static const char body[] = "400 Bad Request: this is an HTTPS port, and the request came as plain HTTP\n";
    _Static_assert(sizeof body - 1 == 75, "Content-Length");
    int head_only = count >= 5 && memcmp(bytes, "HEAD ", 5) == 0, fd = greeting->newcomer.fd;
    struct iovec parts[2] = {{(void *)(uintptr_t)head, sizeof head - 1}, {(void *)(uintptr_t)body, head_only ? 0 : sizeof body - 1}};
    lb_refusal_note(greetings->plane, &greeting->newcomer, lb_first_words_refused(LB_WORDS_HTTP));
    (void)lb_send_parts(fd, parts, 2); /* a fresh socket has room for it */
    (void)shutdown(fd, SHUT_WR);
    greeting->stage = LB_GREETING_TOLD;
    lb_timer_set(&greetings->wheel, &greeting->timer, lb_now_ms(greetings->plane) + LINGER_MS);
    lb_greeting_event(greetings, lb_greeting_index(greetings, greeting), greeting->generation, 0);
}

/* A close with unread bytes would be a reset, which might take our words with it (RFC 9112 9.6). */
static void throw_away(struct lb_greetings *greetings, struct lb_greeting *greeting)
{
    enum { MOST_READS = 64 };
    ssize_t got = 1;
    for (int i = 0; i < MOST_READS && got > 0; i++)
        got = lb_recv(greeting->newcomer.fd, greetings->plane->scratch, LB_SCRATCH_BYTES);
    if (got >= 0 || errno != EAGAIN)
        (void)refuse(greetings, greeting, &greetings->plane->row->refused_handshake);
}

/* --- its life ------------------------------------------------------------------------------------------------------- */

static enum lb_greeting_stage first_stage(const struct lb_plane *plane, uint32_t listener, const union lb_address *peer)
{
    if (says_header(plane, listener, peer))
        return LB_GREETING_HEADER;
    return plane->shm.listeners[listener].mode == LB_MODE_TLS ? LB_GREETING_HELLO : LB_GREETING_SHAKE;
}

void lb_greeting_open(struct lb_greetings *greetings, const struct lb_newcomer *newcomer)
{
    struct lb_plane *plane = greetings->plane;
    uint32_t listener = newcomer->listener;
    const struct lb_listener_row *row = &plane->shm.listeners[listener];
    uint32_t index = lb_slab_take(&greetings->slab);
    struct lb_greeting *greeting = lb_greeting_at(greetings, index);
    *greeting = (struct lb_greeting){
        .newcomer = *newcomer,
        .generation = greeting->generation,
        .live = 1,
        .stage = (uint8_t)first_stage(plane, listener, &newcomer->ends.client),
    };
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET | (row->terminates ? EPOLLOUT : 0),
                                .data.u64 = lb_tag_of(LB_TAG_GREETING, index, greeting->generation)};
    plane->greetings++;
    lb_timer_set(&greetings->wheel, &greeting->timer, lb_now_ms(plane) + row->header_timeout_ms);
    if (epoll_ctl(plane->epoll, EPOLL_CTL_ADD, newcomer->fd, &event) < 0)
        (void)refuse(greetings, greeting, &plane->row->refused_resource);
    /* what has come already is told by the first event */
}

void lb_greeting_event(struct lb_greetings *greetings, uint32_t index, uint32_t generation, uint32_t events)
{
    struct lb_greeting *greeting = lb_greeting_at(greetings, index);
    if (index >= greetings->slab.touched || !greeting->live || greeting->generation != generation)
        return;
    if (greeting->stage == LB_GREETING_TOLD)
        throw_away(greetings, greeting);
    else if (greeting->stage == LB_GREETING_SHAKE)
        lb_handshake_event(greetings, greeting, events);
    else if (events != EPOLLOUT && listen_to(greetings, greeting) == NEXT_WAIT && events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))
        (void)refuse(greetings, greeting, &greetings->plane->row->refused_client_left); /* the rest will never come */
}

static void fire(void *context, struct lb_timer *timer)
{
    struct lb_greetings *greetings = context;
    struct lb_greeting *greeting = (struct lb_greeting *)(void *)timer;
    struct lb_worker_row *row = greetings->plane->row;
    lb_greeting_refuse(greetings, greeting,
                       greeting->stage >= LB_GREETING_SHAKE ? &row->refused_handshake : &row->refused_greeting);
}

void lb_greetings_turn(struct lb_greetings *greetings)
{
    lb_handshakes_turn(greetings);
    lb_wheel_turn(&greetings->wheel, lb_now_ms(greetings->plane), fire, greetings);
}

int lb_greetings_wait(const struct lb_greetings *greetings)
{
    int handshakes = lb_handshakes_wait(greetings), timers = lb_wheel_wait(&greetings->wheel, lb_now_ms(greetings->plane));
    return handshakes < 0 || (timers >= 0 && timers < handshakes) ? timers : handshakes;
}

void lb_greetings_stop(struct lb_greetings *greetings)
{
    for (uint32_t i = 0; i < greetings->slab.touched; i++) {
        struct lb_greeting *greeting = lb_greeting_at(greetings, i);
        if (greeting->live)
            lb_greeting_refuse(greetings, greeting, &greetings->plane->row->refused_resource);
    }
}

int lb_greetings_open(struct lb_greetings *greetings, struct lb_plane *plane, uint32_t most, uint32_t most_shaking)
{
    static const struct lb_greeting_list none = {LB_SLAB_NONE, LB_SLAB_NONE, 0};
    greetings->plane = plane;
    greetings->ready = greetings->waiting = none;
    greetings->eldest = greetings->youngest = LB_SLAB_NONE;
    greetings->most_shaking = most_shaking;
    lb_wheel_open(&greetings->wheel, lb_now_ms(plane));
    return lb_slab_open(&greetings->slab, sizeof(struct lb_greeting), most);
}

void lb_greetings_close(struct lb_greetings *greetings)
{
    lb_slab_close(&greetings->slab);
}
