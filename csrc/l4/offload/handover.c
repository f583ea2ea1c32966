#include "offload.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "../../core/bpf.h"
#include "local.h"
#include "programs.h"

enum {
    SWEEP_MS = 1000,   /* between looks at the figures of all */
    FIRST_POLL_MS = 1, /* a kernel thread that has something to send is asked again after so long, */
    LAST_POLL_MS = 64,  /* and then ever more rarely, */
    LOST_AFTER_MS = 16, /* until it is known that a dead socket's bytes come no more */
    NOTE_BYTES = 64,   /* of the ring, a seat: two notes of each direction, with their heads */
    NO_SEAT = UINT32_MAX,
};

/* What user space knows of a seated session. Its lanes lie at 2 * seat + side. */
struct seat {
    uint64_t cookie[2];
    uint64_t start[2];   /* what each side had queued to send when it was seated, since its beginning */
    uint64_t written[2]; /* bytes that came from each side and that user space wrote to the other since then */
    uint64_t counted[2]; /* of `forwarded`: in the figures */
    uint64_t settled[2]; /* of `forwarded`: known to be in the peer's send queue */
    uint64_t seen[2];    /* what a side's peer had acknowledged when it was asked last */
    uint32_t session;    /* index */
    uint32_t generation; /* raised with each tenant; in every note */
    uint32_t next;       /* in the list of free seats, or of those who wait */
    uint32_t poll_ms;    /* how long it waits until it is looked at again */
    uint64_t poll_at_ms;
    uint8_t taken;
    uint8_t sits[2]; /* the side's socket is in the map */
    uint8_t listens[2]; /* its poller tells of bytes */
    uint8_t waits; /* in the list of those who wait */
    uint8_t local; /* its backend is a process of this host: only its client is seated here, see local.h */
};

struct lb_offload {
    struct lb_offload_maps maps;
    struct lb_local local;
    int program;
    uint32_t which; /* enum lb_offload_which */
    uint32_t seats;
    uint32_t used;
    uint32_t free_first; /* the longest free is taken first: nobody still thinks of its last tenant */
    uint32_t free_last;
    uint32_t touched;
    uint32_t waiting;
    uint64_t swept_ms;
    struct seat *at;
    struct lb_seat_lane *lanes;
    unsigned long *ring_read; /* the page of the ring that we write */
    unsigned long *ring_end;  /* the kernel's, and the notes behind it */
    size_t page;
    size_t ring_bytes;
};

/* --- opening and closing -------------------------------------------------------------------------------------------------- */

static size_t ring_size(uint32_t seats)
{
    size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
    while (bytes < (size_t)seats * NOTE_BYTES)
        bytes *= 2;
    return bytes;
}

static size_t lanes_size(const struct lb_offload *offload)
{
    size_t bytes = (size_t)offload->seats * 2 * sizeof(struct lb_seat_lane);
    return (bytes + offload->page - 1) / offload->page * offload->page;
}

static int create_maps(struct lb_offload *offload)
{
    uint32_t sockets = 2 * offload->seats;
    const struct {
        int *fd;
        struct lb_bpf_map map;
    } wanted[] = {
        {&offload->maps.sockets, {"lb_sockets", BPF_MAP_TYPE_SOCKHASH, sizeof(uint64_t), sizeof(int), sockets, 0}},
        {&offload->maps.seats, {"lb_seats", BPF_MAP_TYPE_HASH, sizeof(uint64_t), sizeof(struct lb_seat), sockets, 0}},
        {&offload->maps.lanes,
         {"lb_lanes", BPF_MAP_TYPE_ARRAY, sizeof(uint32_t), sizeof(struct lb_seat_lane), sockets, BPF_F_MMAPABLE}},
        {&offload->maps.notes, {"lb_notes", BPF_MAP_TYPE_RINGBUF, 0, 0, (uint32_t)offload->ring_bytes, 0}},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        if ((*wanted[i].fd = lb_bpf_map_create(&wanted[i].map)) < 0)
            return *wanted[i].fd;
    return 0;
}

static void *map_memory(int fd, size_t bytes, int rights, off_t offset)
{
    void *memory = mmap(NULL, bytes, rights, MAP_SHARED, fd, offset);
    return memory == MAP_FAILED ? NULL : memory;
}

static int map_all(struct lb_offload *offload)
{
    offload->lanes = map_memory(offload->maps.lanes, lanes_size(offload), PROT_READ | PROT_WRITE, 0);
    offload->ring_read = map_memory(offload->maps.notes, offload->page, PROT_READ | PROT_WRITE, 0);
    offload->ring_end =
        map_memory(offload->maps.notes, offload->page + 2 * offload->ring_bytes, PROT_READ, (off_t)offload->page);
    return offload->lanes && offload->ring_read && offload->ring_end ? 0 : -errno;
}

static void close_if_open(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void unmap(void *memory, size_t bytes)
{
    if (memory)
        munmap(memory, bytes);
}

void lb_offload_close(struct lb_offload *offload)
{
    if (!offload)
        return;
    unmap(offload->lanes, lanes_size(offload));
    unmap(offload->ring_read, offload->page);
    unmap(offload->ring_end, offload->page + 2 * offload->ring_bytes);
    if (offload->which & LB_OFFLOAD_LOCAL)
        lb_local_close(&offload->local);
    close_if_open(offload->program);
    close_if_open(offload->maps.notes);
    close_if_open(offload->maps.lanes);
    close_if_open(offload->maps.seats);
    close_if_open(offload->maps.sockets);
    free(offload->at);
    free(offload);
}

static int fill(struct lb_offload *offload, uint32_t which, char *why, size_t room)
{
    int error = create_maps(offload);
    if (error) {
        (void)snprintf(why, room, "no maps: %s", strerror(-error));
        return error;
    }
    if ((offload->program = lb_offload_load_verdict(&offload->maps, why, room)) < 0)
        return offload->program;
    if (which & LB_OFFLOAD_LOCAL) {
        error = lb_local_open(&offload->local, &offload->maps, offload->seats, why, room);
        if (error)
            return error;
    }
    offload->which = which;
    error = lb_bpf_attach(offload->program, offload->maps.sockets, BPF_SK_SKB_STREAM_VERDICT);
    if (!error)
        error = map_all(offload);
    if (!error && !(offload->at = calloc(offload->seats, sizeof *offload->at)))
        error = -ENOMEM;
    if (error)
        (void)snprintf(why, room, "%s", strerror(-error));
    return error;
}

int lb_offload_open(struct lb_offload **offload, uint32_t seats, uint32_t which, char *why, size_t room)
{
    struct lb_offload *made = calloc(1, sizeof *made);
    if (!made)
        return -ENOMEM;
    made->seats = seats < LB_OFFLOAD_SEATS ? seats : LB_OFFLOAD_SEATS;
    made->page = (size_t)sysconf(_SC_PAGESIZE);
    made->ring_bytes = ring_size(made->seats);
    made->maps = (struct lb_offload_maps){-1, -1, -1, -1};
    made->program = -1;
    made->free_first = made->free_last = made->waiting = NO_SEAT;
    int error = fill(made, which, why, room);
    if (error) {
        lb_offload_close(made);
        made = NULL;
    }
    *offload = made;
    return error;
}

int lb_offload_descriptor(const struct lb_offload *offload)
{
    return offload->maps.notes;
}

/* --- seats ---------------------------------------------------------------------------------------------------------------- */

static uint32_t take_seat(struct lb_offload *offload)
{
    uint32_t index = offload->free_first;
    if (offload->touched < offload->seats) {
        index = offload->touched++;
    } else if (index != NO_SEAT) {
        offload->free_first = offload->at[index].next;
        if (offload->free_first == NO_SEAT)
            offload->free_last = NO_SEAT;
    }
    if (index != NO_SEAT)
        offload->used++;
    return index;
}

static void give_seat(struct lb_offload *offload, uint32_t index)
{
    offload->at[index].taken = 0;
    offload->at[index].next = NO_SEAT;
    if (offload->free_last == NO_SEAT)
        offload->free_first = index;
    else
        offload->at[offload->free_last].next = index;
    offload->free_last = index;
    offload->used--;
}

static struct seat *seat_of(const struct lb_plane *plane, const struct lb_session *session)
{
    return &plane->offload->at[session->offload - 1];
}

static struct lb_seat_lane *lane_of(const struct lb_plane *plane, const struct lb_session *session, enum lb_side_name from)
{
    return &plane->offload->lanes[2 * (session->offload - 1) + from];
}

static uint64_t read_of(const uint64_t *figure)
{
    return __atomic_load_n(figure, __ATOMIC_ACQUIRE);
}

/* --- how far a socket is ---------------------------------------------------------------------------------------------------- */

struct progress {
    uint64_t queued; /* bytes that were ever queued to be sent */
    uint64_t acked;
    int is_dead; /* reset, or over on both sides */
};

/* Acknowledgements that come between the two questions make `queued` less, never more. 0, or -errno. */
static int ask_progress(int fd, struct progress *progress)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    int unsent;
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0 || ioctl(fd, SIOCOUTQ, &unsent) < 0)
        return -errno;
    progress->acked = info.tcpi_bytes_acked;
    progress->queued = progress->acked + (uint64_t)unsent;
    progress->is_dead = info.tcpi_state == BPF_TCP_CLOSE;
    return 0;
}

/* The same, exactly: nothing was acknowledged meanwhile. */
static int ask_queued_exactly(int fd, uint64_t *queued)
{
    struct progress before, after;
    for (int tries = 0; tries < 8; tries++) {
        int error = ask_progress(fd, &before);
        if (!error)
            error = ask_progress(fd, &after);
        if (error)
            return error;
        *queued = before.queued;
        if (before.acked == after.acked)
            return 0;
    }
    return -EAGAIN;
}

/* --- a session goes in ------------------------------------------------------------------------------------------------------- */

static int is_fit(const struct lb_session *session)
{
    for (int i = LB_CLIENT; i <= LB_BACKEND; i++) {
        const struct lb_side *side = &session->side[i];
        const struct lb_flow *flow = &session->flow[i];
        if (side->tls || side->readable || side->hung_up || side->failed || flow->holds || flow->end != LB_FLOW_OPEN)
            return 0;
    }
    return session->state == LB_SESSION_OPEN && !session->offload && session->reads >= LB_OFFLOAD_AFTER &&
           session->reads != LB_OFFLOAD_REFUSED;
}

static int describe(struct seat *seat, const struct lb_session *session)
{
    for (int i = LB_CLIENT; i <= LB_BACKEND; i++) {
        socklen_t size = sizeof seat->cookie[i];
        if (getsockopt(session->side[i].fd, SOL_SOCKET, SO_COOKIE, &seat->cookie[i], &size) < 0)
            return -errno;
        int error = ask_queued_exactly(session->side[i].fd, &seat->start[i]);
        if (error)
            return error;
    }
    return 0;
}

/* Bytes that arrive are not to wake anybody: what comes to user space is told by a note. */
static int watch(struct lb_plane *plane, const struct lb_session *session, enum lb_side_name side, int bytes)
{
    struct seat *seat = seat_of(plane, session);
    struct epoll_event event = {
        .events = EPOLLOUT | EPOLLRDHUP | EPOLLET | (bytes ? EPOLLIN : 0),
        .data.u64 = lb_tag_of((enum lb_tag)side, seat->session, session->generation),
    };
    seat->listens[side] = (uint8_t)bytes;
    return epoll_ctl(plane->epoll, EPOLL_CTL_MOD, session->side[side].fd, &event) < 0 ? -errno : 0;
}

static int seat_side(struct lb_plane *plane, const struct lb_session *session, uint32_t index, enum lb_side_name side)
{
    struct lb_offload *offload = plane->offload;
    struct seat *seat = &offload->at[index];
    struct lb_seat place = {.peer = seat->cookie[!side], .lane = 2 * index + side, .generation = seat->generation};
    int error = lb_bpf_put(offload->maps.seats, &seat->cookie[side], &place);
    if (!error)
        error = lb_bpf_put(offload->maps.sockets, &seat->cookie[side], &session->side[side].fd);
    seat->sits[side] = !error;
    return error;
}

static void forget_side(struct lb_offload *offload, uint32_t index, enum lb_side_name side)
{
    (void)lb_bpf_remove(offload->maps.seats, &offload->at[index].cookie[side]);
}

static int refuse(struct lb_plane *plane, struct lb_session *session)
{
    session->reads = LB_OFFLOAD_REFUSED;
    if (plane->offload->which & LB_OFFLOAD_ANY) /* else most are not meant to be handed over */
        lb_add(&plane->row->offload_misses, 1);
    return 0;
}

/* Its seat, and empty lanes. */
static uint32_t seat_session(struct lb_plane *plane, const struct lb_session *session, int local)
{
    struct lb_offload *offload = plane->offload;
    uint32_t index = take_seat(offload);
    if (index == NO_SEAT)
        return NO_SEAT;
    struct seat *seat = &offload->at[index];
    *seat = (struct seat){.generation = seat->generation + 1, .next = NO_SEAT, .taken = 1, .local = (uint8_t)local};
    seat->session = (uint32_t)((size_t)((const char *)session - plane->sessions.memory) / sizeof *session);
    for (int side = LB_CLIENT; side <= LB_BACKEND; side++)
        offload->lanes[2 * index + (uint32_t)side] = (struct lb_seat_lane){.due_taken = UINT64_MAX};
    return index;
}

static void open_lane(struct lb_offload *offload, uint32_t index, enum lb_side_name from)
{
    __atomic_store_n(&offload->lanes[2 * index + (uint32_t)from].open, 1, __ATOMIC_RELEASE);
}

/* The backend's socket sits there; the client's is to. From then on its program sees every byte, so its lane is open before, and the
 * other after: what a program sends to a socket that does not sit is refused. */
static int seat_local_client(struct lb_plane *plane, struct lb_session *session, uint32_t index)
{
    struct lb_offload *offload = plane->offload;
    struct seat *seat = &offload->at[index];
    socklen_t size = sizeof seat->cookie[LB_CLIENT];
    struct lb_seat place = {.lane = 2 * index + LB_CLIENT, .generation = seat->generation};
    const uint64_t fd = (uint64_t)session->side[LB_CLIENT].fd;
    if (getsockopt(session->side[LB_CLIENT].fd, SOL_SOCKET, SO_COOKIE, &seat->cookie[LB_CLIENT], &size) < 0)
        return -errno;
    int error = lb_bpf_put(offload->maps.seats, &seat->cookie[LB_CLIENT], &place);
    if (error)
        return error;
    open_lane(offload, index, LB_CLIENT);
    error = lb_bpf_put(offload->local.maps.clients, &index, &fd);
    seat->sits[LB_CLIENT] = !error;
    if (error)
        forget_side(offload, index, LB_CLIENT);
    else
        open_lane(offload, index, LB_BACKEND);
    return error;
}

static void forget_local(struct lb_offload *offload, uint32_t index)
{
    lb_local_forget(&offload->local, index, offload->lanes[2 * index + LB_CLIENT].address);
}

/* Small messages, to a backend of this host: true, if it sits now; then it is run once more. *settled: it is answered for good. */
static int take_local(struct lb_plane *plane, struct lb_session *session, int *settled)
{
    struct lb_offload *offload = plane->offload;
    uint32_t index = seat_session(plane, session, 1);
    *settled = 1;
    if (index == NO_SEAT)
        return refuse(plane, session);
    int found = lb_local_find(&offload->local, index, session->side[LB_CLIENT].fd, session->side[LB_BACKEND].fd);
    if (found == LB_LOCAL_SEATED && seat_local_client(plane, session, index) == 0) {
        session->offload = index + 1;
        (void)watch(plane, session, LB_CLIENT, 0); /* else it is woken more often than it need be */
        session->side[LB_CLIENT].readable = 1;
        lb_add(&plane->row->offloads, 1);
        lb_add(&plane->row->offloads_local, 1);
        return 1;
    }
    if (found == LB_LOCAL_SEATED)
        forget_local(offload, index);
    give_seat(offload, index);
    *settled = found != LB_LOCAL_BUSY; /* else it is asked again, until it has brought too much */
    return 0;
}

static int suits_local(const struct lb_offload *offload, const struct lb_session *session)
{
    return offload->which & LB_OFFLOAD_LOCAL && session->bytes[LB_CLIENT] + session->bytes[LB_BACKEND] <= LB_OFFLOAD_SMALL;
}

/* The first socket that sits may have handed bytes up before the second is refused, so it stays; only nothing is forwarded then. */
int lb_offload_take(struct lb_plane *plane, struct lb_session *session)
{
    struct lb_offload *offload = plane->offload;
    int settled = 1;
    if (!is_fit(session))
        return 0;
    if (suits_local(offload, session) && take_local(plane, session, &settled))
        return 1;
    if (!settled)
        return 0;
    if (!(offload->which & LB_OFFLOAD_ANY))
        return refuse(plane, session);
    uint32_t index = seat_session(plane, session, 0);
    if (index == NO_SEAT)
        return refuse(plane, session);
    struct seat *seat = &offload->at[index];
    if (describe(seat, session) < 0 || seat_side(plane, session, index, LB_CLIENT) < 0) {
        forget_side(offload, index, LB_CLIENT);
        give_seat(offload, index);
        return refuse(plane, session);
    }
    session->offload = index + 1;
    int both = seat_side(plane, session, index, LB_BACKEND) == 0;
    for (int side = LB_CLIENT; side <= LB_BACKEND; side++) {
        if (watch(plane, session, (enum lb_side_name)side, 0) < 0)
            both = 0; /* it is woken more often than it need be */
        session->side[side].readable = 1;
    }
    for (int side = LB_CLIENT; side <= LB_BACKEND && both; side++)
        open_lane(offload, index, (enum lb_side_name)side);
    lb_add(both ? &plane->row->offloads : &plane->row->offload_misses, 1);
    return 1;
}

/* --- while it is there ---------------------------------------------------------------------------------------------------- */

static void count_lane(struct lb_plane *plane, struct lb_session *session, enum lb_side_name from)
{
    struct seat *seat = seat_of(plane, session);
    const struct lb_seat_lane *lane = lane_of(plane, session, from);
    uint64_t forwarded = read_of(&lane->forwarded), fresh = forwarded - seat->counted[from];
    if (!fresh)
        return;
    seat->counted[from] = forwarded;
    session->bytes[from] += fresh;
    lb_add(from == LB_BACKEND ? &plane->row->bytes_out : &plane->row->bytes_in, fresh);
    lb_add(&plane->row->bytes_offloaded, fresh);
    uint32_t now_ms = (uint32_t)lb_now_ms(plane), moved_ms = (uint32_t)(read_of(&lane->moved_ns) / 1000000);
    if ((int32_t)(moved_ms - now_ms) > 0) /* it moved since the clock was read */
        moved_ms = now_ms;
    if ((int32_t)(moved_ms - session->moved_ms) > 0)
        session->moved_ms = moved_ms;
}

void lb_offload_count(struct lb_plane *plane, struct lb_session *session)
{
    count_lane(plane, session, LB_CLIENT);
    count_lane(plane, session, LB_BACKEND);
}

static void wait_for_kernel(struct lb_plane *plane, struct seat *seat)
{
    struct lb_offload *offload = plane->offload;
    if (seat->waits)
        return;
    seat->waits = 1;
    seat->poll_ms = FIRST_POLL_MS;
    seat->poll_at_ms = lb_now_ms(plane) + FIRST_POLL_MS;
    seat->next = offload->waiting;
    offload->waiting = (uint32_t)(seat - offload->at);
}

/* What a backend of this host sends, is in the client's send queue before it sends more. What was forwarded to it, it must have read:
 * until then a kernel thread may have it still, and a reset that comes would take it away, but not what came after it. */
static enum lb_settled look_for_local(struct lb_plane *plane, struct lb_session *session, enum lb_side_name from)
{
    struct seat *seat = seat_of(plane, session);
    uint64_t forwarded = read_of(&lane_of(plane, session, from)->forwarded);
    if (from == LB_BACKEND || forwarded == seat->settled[from])
        return LB_SETTLED;
    if (lb_local_look(&plane->offload->local, session->offload - 1) & (LB_LOCAL_WAITS | LB_LOCAL_UNREAD))
        return LB_UNSETTLED;
    seat->settled[from] = forwarded;
    return LB_SETTLED;
}

static enum lb_settled look_for(struct lb_plane *plane, struct lb_session *session, enum lb_side_name from)
{
    struct seat *seat = seat_of(plane, session);
    if (seat->local)
        return look_for_local(plane, session, from);
    uint64_t forwarded = read_of(&lane_of(plane, session, from)->forwarded);
    struct progress progress;
    if (forwarded == seat->settled[from])
        return LB_SETTLED;
    if (ask_progress(session->side[!from].fd, &progress) < 0)
        return LB_LOST;
    int64_t arrived = (int64_t)(progress.queued - seat->start[!from] - seat->written[from]);
    if (progress.acked != seat->seen[from]) { /* a slow reader is not an idle one */
        seat->seen[from] = progress.acked;
        session->moved_ms = (uint32_t)lb_now_ms(plane);
    }
    if (arrived < (int64_t)forwarded)
        return progress.is_dead ? LB_LOST : LB_UNSETTLED;
    seat->settled[from] = forwarded;
    return LB_SETTLED;
}

enum lb_settled lb_offload_settled(struct lb_plane *plane, struct lb_session *session, enum lb_side_name from)
{
    enum lb_settled settled = lb_offload_is_broken(plane, session) ? LB_UNSETTLED : look_for(plane, session, from);
    if (settled == LB_UNSETTLED)
        wait_for_kernel(plane, seat_of(plane, session));
    return settled;
}

/* Was anything handed up that has not been passed on? */
static int is_behind(const struct lb_plane *plane, const struct lb_session *session, enum lb_side_name from)
{
    const struct seat *seat = seat_of(plane, session);
    return seat->sits[from] && read_of(&lane_of(plane, session, from)->passed) != seat->written[from];
}

enum lb_settled lb_offload_handed_up(struct lb_plane *plane, const struct lb_session *session, enum lb_side_name from)
{
    struct seat *seat = seat_of(plane, session);
    struct progress progress;
    if (!is_behind(plane, session, from))
        return LB_SETTLED;
    if (seat->poll_ms >= LOST_AFTER_MS && (ask_progress(session->side[from].fd, &progress) < 0 || progress.is_dead))
        return LB_LOST;
    if (!seat->listens[from])
        (void)watch(plane, session, from, 1);
    wait_for_kernel(plane, seat);
    return LB_UNSETTLED;
}

int lb_offload_is_lost(struct lb_plane *plane, struct lb_session *session, enum lb_side_name from)
{
    return look_for(plane, session, from) == LB_LOST;
}

int lb_offload_sent(struct lb_plane *plane, const struct lb_session *session, enum lb_side_name from, size_t bytes)
{
    struct lb_seat_lane *lane = lane_of(plane, session, from);
    uint64_t taken = seat_of(plane, session)->written[from] += bytes;
    __atomic_store_n(&lane->taken, taken, __ATOMIC_RELEASE);
    __atomic_thread_fence(__ATOMIC_SEQ_CST); /* the program raises `passed`, then looks at `taken` */
    if (is_behind(plane, session, from))
        return 1;
    if (seat_of(plane, session)->listens[from])
        (void)watch(plane, session, from, 0);
    return 0;
}

int lb_offload_is_broken(const struct lb_plane *plane, const struct lb_session *session)
{
    return __atomic_load_n(&lane_of(plane, session, LB_CLIENT)->broken, __ATOMIC_ACQUIRE) ||
           __atomic_load_n(&lane_of(plane, session, LB_BACKEND)->broken, __ATOMIC_ACQUIRE);
}

int lb_offload_is_unsettled(struct lb_plane *plane, struct lb_session *session)
{
    for (int i = LB_CLIENT; i <= LB_BACKEND; i++) {
        enum lb_side_name from = (enum lb_side_name)i;
        if (is_behind(plane, session, from))
            return 1;
        if (session->flow[from].end != LB_FLOW_CLOSED && look_for(plane, session, from) != LB_SETTLED)
            return 1;
    }
    return 0;
}

void lb_offload_leave(struct lb_plane *plane, struct lb_session *session)
{
    struct lb_offload *offload = plane->offload;
    uint32_t index = session->offload - 1;
    struct seat *seat = &offload->at[index];
    lb_offload_count(plane, session);
    for (int side = LB_CLIENT; side <= LB_BACKEND; side++) {
        __atomic_store_n(&offload->lanes[2 * index + (uint32_t)side].open, 0, __ATOMIC_RELEASE);
        forget_side(offload, index, (enum lb_side_name)side);
    }
    if (seat->local)
        forget_local(offload, index);
    session->offload = 0;
    seat->taken = 0;
    if (!seat->waits) /* else the list gives it back */
        give_seat(offload, index);
}

/* --- what the program says ---------------------------------------------------------------------------------------------------- */

/* A direction has something for user space, or has broken. */
static void wake(struct lb_plane *plane, uint32_t index, enum lb_side_name from)
{
    struct lb_session *session = lb_slab_at(&plane->sessions, plane->offload->at[index].session);
    session->side[from].readable = 1;
    lb_session_wake(plane, session);
}

static void heard(struct lb_plane *plane, const struct lb_seat_note *note)
{
    struct lb_offload *offload = plane->offload;
    uint32_t index = note->lane / 2;
    if (index < offload->seats && offload->at[index].taken && offload->at[index].generation == note->generation)
        wake(plane, index, (enum lb_side_name)(note->lane & 1));
}

/* As bpf_ringbuf's readers do (Documentation/bpf/ringbuf.rst): a note has a head of eight bytes, the first four its length. */
void lb_offload_notes(struct lb_plane *plane)
{
    struct lb_offload *offload = plane->offload;
    const char *ring = (const char *)offload->ring_end + offload->page;
    unsigned long at = *offload->ring_read;
    while (at < __atomic_load_n(offload->ring_end, __ATOMIC_ACQUIRE)) {
        const char *place = ring + (at & (offload->ring_bytes - 1));
        uint32_t length = __atomic_load_n((const uint32_t *)(const void *)place, __ATOMIC_ACQUIRE);
        if (length & BPF_RINGBUF_BUSY_BIT)
            break;
        struct lb_seat_note note;
        memcpy(&note, place + BPF_RINGBUF_HDR_SZ, sizeof note);
        at += (BPF_RINGBUF_HDR_SZ + (length & ~(uint32_t)BPF_RINGBUF_DISCARD_BIT) + 7) / 8 * 8;
        __atomic_store_n(offload->ring_read, at, __ATOMIC_RELEASE);
        heard(plane, &note);
    }
}

/* --- once a turn ------------------------------------------------------------------------------------------------------------ */

/* Notes are lost where the ring was full; then `passed` tells. */
static void sweep(struct lb_plane *plane)
{
    struct lb_offload *offload = plane->offload;
    offload->swept_ms = lb_now_ms(plane);
    for (uint32_t i = 0; i < offload->touched; i++) {
        struct seat *seat = &offload->at[i];
        if (!seat->taken)
            continue;
        lb_offload_count(plane, lb_slab_at(&plane->sessions, seat->session));
        for (int side = LB_CLIENT; side <= LB_BACKEND && seat->taken; side++)
            if (is_behind(plane, lb_slab_at(&plane->sessions, seat->session), (enum lb_side_name)side))
                wake(plane, i, (enum lb_side_name)side);
    }
}

/* Those who wait are run when it is their time; they ask again, and wait longer, if it was too soon. */
static void poll_waiting(struct lb_plane *plane)
{
    struct lb_offload *offload = plane->offload;
    uint32_t index = offload->waiting;
    offload->waiting = NO_SEAT;
    while (index != NO_SEAT) {
        struct seat *seat = &offload->at[index];
        uint32_t next = seat->next, patience_ms = seat->poll_ms;
        if (seat->taken && lb_now_ms(plane) < seat->poll_at_ms) {
            seat->next = offload->waiting;
            offload->waiting = index;
        } else {
            uint32_t generation = seat->generation;
            seat->waits = 0;
            if (!seat->taken)
                give_seat(offload, index);
            else {
                struct lb_session *session = lb_slab_at(&plane->sessions, seat->session);
                session->side[LB_CLIENT].writable = session->side[LB_BACKEND].writable = 1;
                lb_session_wake(plane, session);
            }
            if (seat->waits && seat->generation == generation) {
                seat->poll_ms = patience_ms < LAST_POLL_MS ? 2 * patience_ms : LAST_POLL_MS;
                seat->poll_at_ms = lb_now_ms(plane) + seat->poll_ms;
            } else {
                seat->poll_ms = 0;
            }
        }
        index = next;
    }
}

void lb_offload_turn(struct lb_plane *plane)
{
    struct lb_offload *offload = plane->offload;
    if (offload->waiting != NO_SEAT)
        poll_waiting(plane);
    if (offload->used && lb_now_ms(plane) - offload->swept_ms >= SWEEP_MS)
        sweep(plane);
}

int lb_offload_wait(const struct lb_plane *plane)
{
    const struct lb_offload *offload = plane->offload;
    uint64_t now_ms = lb_now_ms(plane), due_ms = offload->swept_ms + SWEEP_MS;
    if (!offload->used && offload->waiting == NO_SEAT)
        return -1;
    for (uint32_t i = offload->waiting; i != NO_SEAT; i = offload->at[i].next)
        if (offload->at[i].poll_at_ms < due_ms)
            due_ms = offload->at[i].poll_at_ms;
    return due_ms > now_ms ? (int)(due_ms - now_ms) : 0;
}
