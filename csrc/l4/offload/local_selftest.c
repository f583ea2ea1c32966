/* A trial of local.c: a client, a backend, and between them what a session does, all in one thread on loopback. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../../core/bpf.h"
#include "../../core/net.h"
#include "local.h"
#include "offload.h"

enum { EARLY = 3000, TOTAL = 1 << 18, MOST = 9000, PATIENCE_US = 5000000, LANES = 2 };

/* One direction: what is sent at one end must come out at the other. */
struct stream {
    int from; /* ends of the peers */
    int to;
    uint32_t sent;
    uint32_t got;
};

struct trial {
    struct lb_local local;
    struct lb_offload_maps maps;
    struct lb_slot_lane *lanes;
    int client; /* the peers */
    int backend;
    int ours[2]; /* the session's: towards the client, towards the backend */
    struct held {
        char bytes[MOST]; /* read at one, and not yet written to the other */
        size_t count;
    } held[2];
    struct stream in;  /* from the client */
    struct stream out; /* from the backend */
    uint64_t began_us;
};

static const char *const TOO_LATE = "bytes of the trial did not arrive";
static const char *const WRONG = "bytes of the trial arrived changed, or out of order";

static char pattern(uint32_t at, int direction)
{
    uint32_t mixed = (at + 1) * 2654435761u + (uint32_t)direction * 40503u;
    return (char)(mixed >> 24);
}

/* --- what it takes ---------------------------------------------------------------------------------------------------------- */

static int create_maps(struct trial *trial)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const struct lb_bpf_map slots = {"lb_trial_slots", BPF_MAP_TYPE_HASH, sizeof(uint64_t), sizeof(struct lb_slot), 1, 0};
    const struct lb_bpf_map lanes = {"lb_trial_lanes", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(struct lb_slot_lane), LANES,
                                     BPF_F_MMAPABLE};
    const struct lb_bpf_map notes = {"lb_trial_notes", BPF_MAP_TYPE_RINGBUF, 0, 0, (uint32_t)page, 0};
    if ((trial->maps.slots = lb_bpf_map_create(&slots)) < 0 || (trial->maps.lanes = lb_bpf_map_create(&lanes)) < 0 ||
        (trial->maps.notes = lb_bpf_map_create(&notes)) < 0)
        return -errno;
    void *memory = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_SHARED, trial->maps.lanes, 0);
    if (memory == MAP_FAILED)
        return -errno;
    trial->lanes = memory;
    return 0;
}

/* Two ends of a connection over loopback, neither of which sleeps. */
static int connect_pair(int *from, int *to)
{
    struct lb_destination at = {.length = sizeof(struct sockaddr_in),
                                .at.ip.v4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
    struct sockaddr *address = &at.at.ip.any;
    socklen_t size = sizeof at.at.ip.v4;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), error = 0;
    if (listener < 0 || bind(listener, address, size) < 0 || listen(listener, 1) < 0 ||
        getsockname(listener, address, &size) < 0) {
        error = -errno;
    } else {
        *from = lb_net_connect(&at, 0, NULL);
        *to = *from < 0 ? -1 : accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        error = *from < 0 ? *from : *to < 0 ? -errno : 0;
    }
    if (listener >= 0)
        close(listener);
    return error;
}

static void close_all(struct trial *trial)
{
    const int all[] = {trial->client,     trial->backend,    trial->ours[0],   trial->ours[1],
                       trial->maps.slots, trial->maps.lanes, trial->maps.notes};
    if (trial->lanes)
        munmap(trial->lanes, (size_t)sysconf(_SC_PAGESIZE));
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i] >= 0)
            close(all[i]);
}

/* --- what the peers do -------------------------------------------------------------------------------------------------------- */

/* So many bytes more, if they fit: 0, or why not. */
static const char *speak(struct stream *stream, uint32_t count, int direction)
{
    char bytes[MOST];
    for (uint32_t i = 0; i < count; i++)
        bytes[i] = pattern(stream->sent + i, direction);
    ssize_t took = send(stream->from, bytes, count, MSG_NOSIGNAL);
    if (took < 0 && errno != EAGAIN)
        return "a send of the trial failed";
    stream->sent += took < 0 ? 0 : (uint32_t)took;
    return NULL;
}

static const char *listen_to(struct stream *stream, int direction)
{
    char bytes[MOST];
    ssize_t got;
    while ((got = recv(stream->to, bytes, sizeof bytes, 0)) > 0)
        for (ssize_t i = 0; i < got; i++)
            if (bytes[i] != pattern(stream->got++, direction))
                return WRONG;
    return NULL;
}

/* --- what a session does ---------------------------------------------------------------------------------------------------- */

static int relay(struct trial *trial, int from, int to)
{
    struct held *held = &trial->held[from];
    if (!held->count) {
        ssize_t got = recv(trial->ours[from], held->bytes, sizeof held->bytes, 0);
        held->count = got < 0 ? 0 : (size_t)got;
    }
    if (!held->count || (from == 0 && lb_local_look(&trial->local, 0) & (LB_LOCAL_WAITS | LB_LOCAL_UNREAD)))
        return 0;
    ssize_t took = send(trial->ours[to], held->bytes, held->count, MSG_NOSIGNAL);
    if (took < 0)
        return errno == EAGAIN ? 0 : -errno;
    held->count -= (size_t)took;
    memmove(held->bytes, held->bytes + took, held->count);
    return 0;
}

static const char *attach_both(struct trial *trial)
{
    const uint32_t slot = 0;
    const struct lb_slot place = {.lane = 0};
    uint64_t cookie, fd = (uint64_t)trial->ours[0];
    socklen_t size = sizeof cookie;
    int found = lb_local_find(&trial->local, slot, trial->ours[0], trial->ours[1]);
    if (found != LB_LOCAL_ATTACHED)
        return found == LB_LOCAL_ELSEWHERE ? "a socket of this host was not found by its addresses"
                                           : "a backend's socket was not attached";
    if (getsockopt(trial->ours[0], SOL_SOCKET, SO_COOKIE, &cookie, &size) < 0 ||
        lb_bpf_put(trial->maps.slots, &cookie, &place) < 0)
        return "a client's socket was not attached";
    trial->lanes[0].open = 1;
    if (lb_bpf_put(trial->local.maps.clients, &cookie, &fd) < 0)
        return "a client's socket was not attached";
    trial->lanes[1].open = 1;
    return NULL;
}

static int is_late(const struct trial *trial)
{
    return lb_net_now_us() - trial->began_us > PATIENCE_US;
}

/* One turn of everybody: 0, or what went wrong. */
static const char *turn(struct trial *trial, uint32_t in, uint32_t out)
{
    const char *wrong = in ? speak(&trial->in, in, 0) : NULL;
    if (!wrong && out)
        wrong = speak(&trial->out, out, 1);
    if (!wrong && (relay(trial, 0, 1) < 0 || relay(trial, 1, 0) < 0))
        wrong = "the trial's own connection failed";
    if (!wrong)
        wrong = listen_to(&trial->in, 0);
    return wrong ? wrong : listen_to(&trial->out, 1);
}

static const char *converse(struct trial *trial)
{
    const char *wrong = NULL;
    for (uint32_t i = 0; !wrong && (trial->in.got < TOTAL || trial->out.got < TOTAL); i++) {
        wrong = turn(trial, trial->in.sent < TOTAL ? 1 + i * 131 % MOST : 0, trial->out.sent < TOTAL ? 1 + i * 197 % MOST : 0);
        if (!wrong && is_late(trial))
            wrong = TOO_LATE;
    }
    return wrong;
}

/* Wait until so much has come, however it comes. */
static const char *wait_until_synced(struct trial *trial)
{
    const char *wrong = NULL;
    while (!wrong && (trial->in.got != trial->in.sent || trial->out.got != trial->out.sent)) {
        wrong = turn(trial, 0, 0);
        if (!wrong && is_late(trial))
            wrong = TOO_LATE;
    }
    return wrong;
}

static int ends(const struct trial *trial, int fd)
{
    struct pollfd waits = {fd, POLLIN | POLLRDHUP, 0};
    char byte;
    while (poll(&waits, 1, 1) >= 0 && !is_late(trial))
        if (waits.revents)
            return recv(fd, &byte, 1, 0) == 0;
    return 0;
}

/* The client ends, with last words; the backend reads them, answers after that, and ends. */
static const char *part(struct trial *trial)
{
    const char *wrong = speak(&trial->in, 100, 0);
    shutdown(trial->client, SHUT_WR);
    if (!wrong)
        wrong = wait_until_synced(trial);
    if (!wrong && !ends(trial, trial->ours[0]))
        return "a client's end was not seen";
    while (!wrong && lb_local_look(&trial->local, 0) & (LB_LOCAL_WAITS | LB_LOCAL_UNREAD))
        wrong = is_late(trial) ? TOO_LATE : listen_to(&trial->in, 0);
    shutdown(trial->ours[1], SHUT_WR);
    if (!wrong && !ends(trial, trial->backend))
        return "a client's end did not arrive";
    if (!wrong)
        wrong = speak(&trial->out, 100, 1);
    shutdown(trial->backend, SHUT_WR);
    if (!wrong)
        wrong = wait_until_synced(trial);
    if (!wrong && !ends(trial, trial->ours[1]))
        return "a backend's end was not seen";
    return wrong;
}

static const char *run(struct trial *trial)
{
    /* bytes of both are there before anything is handed over, and a few have gone the long way */
    const char *wrong = speak(&trial->in, EARLY, 0);
    if (!wrong)
        wrong = speak(&trial->out, EARLY, 1);
    if (!wrong)
        wrong = attach_both(trial);
    if (!wrong)
        wrong = converse(trial);
    if (!wrong)
        wrong = wait_until_synced(trial);
    if (!wrong && (!trial->lanes[0].messages || !trial->lanes[1].messages))
        wrong = "nothing was forwarded";
    return wrong ? wrong : part(trial);
}

int lb_local_selftest(char *why, size_t room)
{
    struct trial trial = {.maps = {-1, -1, -1, -1}, .client = -1, .backend = -1, .ours = {-1, -1}, .began_us = lb_net_now_us()};
    int error = create_maps(&trial);
    if (!error)
        error = connect_pair(&trial.client, &trial.ours[0]);
    if (!error)
        error = connect_pair(&trial.ours[1], &trial.backend);
    if (error)
        (void)snprintf(why, room, "no trial: %s", strerror(-error));
    else
        error = lb_local_open(&trial.local, &trial.maps, 1, why, room);
    if (!error) {
        trial.in = (struct stream){.from = trial.client, .to = trial.backend};
        trial.out = (struct stream){.from = trial.backend, .to = trial.client};
        const char *wrong = run(&trial);
        if (wrong) {
            (void)snprintf(why, room, "%s", wrong);
            error = -EIO;
        }
        lb_local_close(&trial.local);
    }
    close_all(&trial);
    return error;
}
