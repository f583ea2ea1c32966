/* A trial at the start: does this kernel do with a pair of our own sockets what programs.c expects of it? Bytes that know their place go
 * both ways, some before the sockets are attached; one segment comes a second time with more behind it; a reader does not read; one
 * side ends first. One byte that is wrong or late, and the offload is refused. */
#include "offload.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "../../core/io.h"
#include "../../core/net.h"
#include "repair.h"

enum {
    LATE_MS = 1000,
    PIECE = 16384,
    EARLY = 3000,
    AGAIN = 700,      /* bytes that come a second time */
    FLOOD = 64 << 20, /* more than any socket takes */
    SMALL_BUFFER = 65536,
};

/* A peer outside, and our socket to it. */
struct end {
    int outer;
    int ours;
    uint64_t sent; /* by the peer */
    uint64_t got;  /* by the peer */
};

struct trial {
    struct lb_worker_context ctx;
    struct lb_worker_row row;
    struct lb_session *session;
    struct end end[2]; /* by enum lb_side_name */
    char *why;
    size_t room;
};

static int fails(struct trial *trial, const char *what)
{
    (void)snprintf(trial->why, trial->room, "self-test: %s", what);
    return -EPROTO;
}

static int fails_by(struct trial *trial, const char *what)
{
    int error = errno;
    (void)snprintf(trial->why, trial->room, "self-test: %s: %s", what, strerror(error));
    return error ? -error : -EPROTO;
}

/* --- bytes that know their place --------------------------------------------------------------------------------------------- */

static char byte_at(enum lb_side_name from, uint64_t place)
{
    return (char)((place * UINT64_C(0x9e3779b97f4a7c15) + (uint64_t)from) >> 56);
}

static void draw(enum lb_side_name from, uint64_t place, char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = byte_at(from, place + i);
}

static int is_right(enum lb_side_name from, uint64_t place, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != byte_at(from, place + i))
            return 0;
    return 1;
}

static int say(struct trial *trial, enum lb_side_name from, size_t count)
{
    char bytes[PIECE];
    struct end *end = &trial->end[from];
    draw(from, end->sent, bytes, count);
    if (send(end->outer, bytes, count, MSG_NOSIGNAL) != (ssize_t)count)
        return fails_by(trial, "a peer cannot send");
    end->sent += count;
    return 0;
}

/* --- sockets ----------------------------------------------------------------------------------------------------------------- */

static int patient(int fd)
{
    struct timeval limit = {.tv_sec = LATE_MS / 1000};
    int one = 1;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit) < 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0)
        return -1;
    return fd;
}

static int pair(struct end *end)
{
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof here;
    int small = SMALL_BUFFER, one = 1;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    end->outer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed = listener < 0 || end->outer < 0 || setsockopt(end->outer, SOL_SOCKET, SO_RCVBUF, &small, sizeof small) < 0 ||
                 bind(listener, (struct sockaddr *)&here, size) < 0 || listen(listener, 1) < 0 ||
                 getsockname(listener, (struct sockaddr *)&here, &size) < 0 || patient(end->outer) < 0 ||
                 connect(end->outer, (struct sockaddr *)&here, size) < 0 ||
                 (end->ours = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) < 0 ||
                 setsockopt(end->ours, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0;
    if (listener >= 0)
        close(listener);
    return failed ? -1 : 0;
}

static int wait_readable(int fd)
{
    struct pollfd wanted = {.fd = fd, .events = POLLIN};
    return poll(&wanted, 1, LATE_MS) == 1 ? 0 : -1;
}

/* --- a segment that comes again ------------------------------------------------------------------------------------------------- */

/* A segment that begins with bytes that were there before, and goes on with new ones. */
static int say_again(struct trial *trial)
{
    struct end *end = &trial->end[LB_CLIENT];
    end->outer = lb_repair_put_back(end->outer, AGAIN);
    if (end->outer < 0 || patient(end->outer) < 0)
        return fails_by(trial, "no retransmission can be made");
    end->sent -= AGAIN;
    return say(trial, LB_CLIENT, (size_t)2 * AGAIN);
}

/* --- the trial ------------------------------------------------------------------------------------------------------------------ */

/* What the kernel hands up, as the relay would pass it on: how many bytes went, or -1. */
static ssize_t relay(struct trial *trial, enum lb_side_name from)
{
    char bytes[PIECE];
    struct lb_worker_context *ctx = &trial->ctx;
    ctx->now_us = lb_net_now_us();
    ssize_t got = lb_recv(trial->end[from].ours, bytes, sizeof bytes);
    if (got <= 0)
        return got < 0 && errno == EAGAIN ? 0 : -1;
    trial->session->bytes[from] += (uint64_t)got;
    for (ssize_t sent = 0; sent < got;) {
        struct pollfd room = {.fd = trial->end[!from].ours, .events = POLLOUT};
        uint64_t late_us = lb_net_now_us() + LATE_MS * 1000;
        while (lb_offload_synced(ctx, trial->session, from) != LB_SYNCED)
            if (lb_net_now_us() > late_us)
                return -1;
        if (poll(&room, 1, LATE_MS) != 1)
            return -1;
        ssize_t took = lb_send(room.fd, bytes + sent, (size_t)(got - sent));
        if (took < 0 && errno != EAGAIN)
            return -1;
        sent += took > 0 ? took : 0;
        if (took > 0)
            (void)lb_offload_sent(ctx, trial->session, from, (size_t)took);
    }
    return got;
}

/* All that one peer has said comes to the other, in time. */
static int hear(struct trial *trial, enum lb_side_name from)
{
    char bytes[PIECE];
    struct end *end = &trial->end[!from];
    uint64_t late_us = lb_net_now_us() + LATE_MS * 1000;
    while (end->got < trial->end[from].sent) {
        struct pollfd wanted = {.fd = end->outer, .events = POLLIN};
        ssize_t got = poll(&wanted, 1, 1) == 1 ? lb_recv(end->outer, bytes, sizeof bytes) : -1;
        if (got == 0)
            return fails(trial, "an end came before its bytes");
        if (got > 0 && (end->got + (uint64_t)got > trial->end[from].sent || !is_right(from, end->got, bytes, (size_t)got)))
            return fails(trial, "bytes were wrong");
        end->got += got > 0 ? (uint64_t)got : 0;
        if (got > 0)
            late_us = lb_net_now_us() + LATE_MS * 1000;
        else if (relay(trial, from) < 0 || lb_net_now_us() > late_us)
            return fails(trial, "bytes were late");
    }
    return 0;
}

static int speak_before(struct trial *trial)
{
    int error = say(trial, LB_CLIENT, EARLY);
    if (error)
        return error;
    if (wait_readable(trial->end[LB_CLIENT].ours) < 0)
        return fails(trial, "bytes were late");
    if (!lb_offload_take(&trial->ctx, trial->session) || !trial->row.offloads)
        return fails(trial, "the sockets cannot be put into the map");
    if (relay(trial, LB_CLIENT) < 0 || relay(trial, LB_BACKEND) < 0) /* a read has the program look at what was there before */
        return fails(trial, "the sockets cannot be read");
    return hear(trial, LB_CLIENT);
}

static int speak_in_turn(struct trial *trial)
{
    static const size_t sizes[] = {1, 700, 5000, PIECE, 3, 12345};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        for (int from = LB_CLIENT; from <= LB_BACKEND; from++) {
            int error = say(trial, (enum lb_side_name)from, sizes[i]);
            if (!error)
                error = hear(trial, (enum lb_side_name)from);
            if (error)
                return error;
        }
    return 0;
}

static int figures_are_right(struct trial *trial)
{
    lb_offload_count(&trial->ctx, trial->session);
    const uint64_t *bytes = trial->session->bytes;
    if (bytes[LB_CLIENT] != trial->end[LB_CLIENT].sent || bytes[LB_BACKEND] != trial->end[LB_BACKEND].sent)
        return fails(trial, "bytes are not counted as they were forwarded");
    return trial->row.bytes_offloaded ? 0 : fails(trial, "nothing is forwarded");
}

/* The reader reads nothing until the sender can send no more: the kernel must have stopped, and all come in order after that. */
static int speak_to_nobody(struct trial *trial)
{
    char bytes[PIECE];
    struct end *from = &trial->end[LB_CLIENT];
    struct pollfd room = {.fd = from->outer, .events = POLLOUT};
    uint64_t before = from->sent;
    while (poll(&room, 1, 20) == 1) {
        draw(LB_CLIENT, from->sent, bytes, sizeof bytes);
        ssize_t took = lb_send(from->outer, bytes, sizeof bytes);
        from->sent += took > 0 ? (uint64_t)took : 0;
        if (from->sent - before > FLOOD)
            return fails(trial, "a reader who does not read is sent to without end");
    }
    return hear(trial, LB_CLIENT);
}

static int leave_one_by_one(struct trial *trial)
{
    char byte;
    if (shutdown(trial->end[LB_CLIENT].outer, SHUT_WR) < 0 || wait_readable(trial->end[LB_CLIENT].ours) < 0 ||
        lb_recv(trial->end[LB_CLIENT].ours, &byte, 1) != 0)
        return fails(trial, "an end was not seen");
    (void)shutdown(trial->end[LB_BACKEND].ours, SHUT_WR);
    if (recv(trial->end[LB_BACKEND].outer, &byte, 1, 0) != 0)
        return fails(trial, "an end did not arrive");
    int error = say(trial, LB_BACKEND, EARLY);
    return error ? error : hear(trial, LB_BACKEND);
}

static int run(struct trial *trial)
{
    int error = speak_before(trial);
    if (!error)
        error = speak_in_turn(trial);
    if (!error)
        error = figures_are_right(trial);
    if (!error)
        error = say_again(trial);
    if (!error)
        error = hear(trial, LB_CLIENT);
    if (!error)
        error = speak_in_turn(trial);
    if (!error)
        error = speak_to_nobody(trial);
    if (!error)
        error = leave_one_by_one(trial);
    return error;
}

static int watch(struct trial *trial, int side)
{
    return lb_loop_watch(&trial->ctx.loop, trial->end[side].ours, EPOLLIN | EPOLLET, 0);
}

static int prepare(struct trial *trial)
{
    struct lb_worker_context *ctx = &trial->ctx;
    ctx->row = &trial->row;
    ctx->now_us = lb_net_now_us();
    int error = lb_slab_open(&ctx->sessions, sizeof(struct lb_session), 1);
    if (error)
        return error;
    trial->session = lb_slab_at(&ctx->sessions, lb_slab_take(&ctx->sessions));
    if (lb_loop_open(&ctx->loop, NULL) < 0 || pair(&trial->end[LB_CLIENT]) < 0 || pair(&trial->end[LB_BACKEND]) < 0 ||
        watch(trial, LB_CLIENT) < 0 || watch(trial, LB_BACKEND) < 0)
        return fails_by(trial, "no sockets");
    *trial->session = (struct lb_session){
        .state = LB_SESSION_OPEN,
        .reads = LB_OFFLOAD_AFTER,
        .side = {{.fd = trial->end[LB_CLIENT].ours}, {.fd = trial->end[LB_BACKEND].ours}},
    };
    return lb_offload_open(&ctx->offload, 1, LB_OFFLOAD_ANY, trial->why, trial->room);
}

static void clear(struct trial *trial)
{
    if (trial->session && trial->session->offload)
        lb_offload_leave(&trial->ctx, trial->session);
    for (int i = LB_CLIENT; i <= LB_BACKEND; i++) {
        if (trial->end[i].outer >= 0)
            close(trial->end[i].outer);
        if (trial->end[i].ours >= 0)
            close(trial->end[i].ours);
    }
    lb_loop_close(&trial->ctx.loop);
    lb_offload_close(trial->ctx.offload);
    lb_slab_close(&trial->ctx.sessions);
    free(trial);
}

int lb_offload_selftest(char *why, size_t room)
{
    struct trial *trial = calloc(1, sizeof *trial);
    if (!trial)
        return -ENOMEM;
    trial->why = why;
    trial->room = room;
    trial->ctx.loop.poller = -1;
    for (int i = LB_CLIENT; i <= LB_BACKEND; i++)
        trial->end[i] = (struct end){.outer = -1, .ours = -1};
    int error = prepare(trial);
    if (!error)
        error = run(trial);
    clear(trial);
    return error;
}
