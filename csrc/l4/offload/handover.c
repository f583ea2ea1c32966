#include <errno.h>
#include <sys/socket.h>

#include "../../core/bpf.h"
#include "progress.h"
#include "seats.h"

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

static int describe(struct lb_seated *seat, const struct lb_session *session)
{
    for (int i = LB_CLIENT; i <= LB_BACKEND; i++) {
        socklen_t size = sizeof seat->cookie[i];
        if (getsockopt(session->side[i].fd, SOL_SOCKET, SO_COOKIE, &seat->cookie[i], &size) < 0)
            return -errno;
        int error = lb_progress_queued(session->side[i].fd, &seat->start[i]);
        if (error)
            return error;
    }
    return 0;
}

static int seat_side(struct lb_worker_context *ctx, const struct lb_session *session, uint32_t index, enum lb_side_name side)
{
    struct lb_offload *offload = ctx->offload;
    struct lb_seated *seat = &offload->at[index];
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

static int refuse(struct lb_worker_context *ctx, struct lb_session *session)
{
    session->reads = LB_OFFLOAD_REFUSED;
    if (ctx->offload->which & LB_OFFLOAD_ANY) /* else most are not meant to be handed over */
        lb_add(&ctx->row->offload_misses, 1);
    return 0;
}

/* Its seat, and empty lanes. */
static uint32_t seat_session(struct lb_worker_context *ctx, const struct lb_session *session, int local)
{
    struct lb_offload *offload = ctx->offload;
    uint32_t index = lb_seat_take(offload);
    if (index == LB_NO_SEAT)
        return LB_NO_SEAT;
    struct lb_seated *seat = &offload->at[index];
    *seat = (struct lb_seated){.generation = seat->generation + 1, .next = LB_NO_SEAT, .taken = 1, .local = (uint8_t)local};
    seat->session = lb_slab_index(&ctx->sessions, session);
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
static int seat_local_client(struct lb_worker_context *ctx, struct lb_session *session, uint32_t index)
{
    struct lb_offload *offload = ctx->offload;
    struct lb_seated *seat = &offload->at[index];
    socklen_t size = sizeof seat->cookie[LB_CLIENT];
    struct lb_seat place = {.lane = 2 * index + LB_CLIENT, .generation = seat->generation};
    const uint64_t fd = (uint64_t)session->side[LB_CLIENT].fd;
    if (getsockopt(session->side[LB_CLIENT].fd, SOL_SOCKET, SO_COOKIE, &seat->cookie[LB_CLIENT], &size) < 0)
        return -errno;
    int error = lb_bpf_put(offload->maps.seats, &seat->cookie[LB_CLIENT], &place);
    if (error)
        return error;
    open_lane(offload, index, LB_CLIENT);
    error = lb_bpf_put(offload->local.maps.clients, &seat->cookie[LB_CLIENT], &fd);
    seat->sits[LB_CLIENT] = !error;
    if (error)
        forget_side(offload, index, LB_CLIENT);
    else
        open_lane(offload, index, LB_BACKEND);
    return error;
}

/* Small messages, to a backend of this host: true, if it sits now; then it is run once more. *settled: it is answered for good. */
static int take_local(struct lb_worker_context *ctx, struct lb_session *session, int *settled)
{
    struct lb_offload *offload = ctx->offload;
    uint32_t index = seat_session(ctx, session, 1);
    *settled = 1;
    if (index == LB_NO_SEAT)
        return refuse(ctx, session);
    int found = lb_local_find(&offload->local, index, session->side[LB_CLIENT].fd, session->side[LB_BACKEND].fd);
    if (found == LB_LOCAL_SEATED && seat_local_client(ctx, session, index) == 0) {
        session->offload = index + 1;
        (void)lb_seat_watch(ctx, session, LB_CLIENT, 0); /* else it is woken more often than it need be */
        session->side[LB_CLIENT].readable = 1;
        lb_add(&ctx->row->offloads, 1);
        lb_add(&ctx->row->offloads_local, 1);
        return 1;
    }
    if (found == LB_LOCAL_SEATED)
        lb_local_forget(&offload->local, index);
    lb_seat_give(offload, index);
    *settled = found != LB_LOCAL_BUSY; /* else it is asked again, until it has brought too much */
    return 0;
}

static int suits_local(const struct lb_offload *offload, const struct lb_session *session)
{
    return offload->which & LB_OFFLOAD_LOCAL && session->bytes[LB_CLIENT] + session->bytes[LB_BACKEND] <= LB_OFFLOAD_SMALL;
}

/* The first socket that sits may have handed bytes up before the second is refused, so it stays; only nothing is forwarded then. */
int lb_offload_take(struct lb_worker_context *ctx, struct lb_session *session)
{
    struct lb_offload *offload = ctx->offload;
    int settled = 1;
    if (!is_fit(session))
        return 0;
    if (suits_local(offload, session) && take_local(ctx, session, &settled))
        return 1;
    if (!settled)
        return 0;
    if (!(offload->which & LB_OFFLOAD_ANY))
        return refuse(ctx, session);
    uint32_t index = seat_session(ctx, session, 0);
    if (index == LB_NO_SEAT)
        return refuse(ctx, session);
    struct lb_seated *seat = &offload->at[index];
    if (describe(seat, session) < 0 || seat_side(ctx, session, index, LB_CLIENT) < 0) {
        forget_side(offload, index, LB_CLIENT);
        lb_seat_give(offload, index);
        return refuse(ctx, session);
    }
    session->offload = index + 1;
    int both = seat_side(ctx, session, index, LB_BACKEND) == 0;
    for (int side = LB_CLIENT; side <= LB_BACKEND; side++) {
        if (lb_seat_watch(ctx, session, (enum lb_side_name)side, 0) < 0)
            both = 0; /* it is woken more often than it need be */
        session->side[side].readable = 1;
    }
    for (int side = LB_CLIENT; side <= LB_BACKEND && both; side++)
        open_lane(offload, index, (enum lb_side_name)side);
    lb_add(both ? &ctx->row->offloads : &ctx->row->offload_misses, 1);
    return 1;
}

/* --- and leaves ------------------------------------------------------------------------------------------------------------ */

void lb_offload_leave(struct lb_worker_context *ctx, struct lb_session *session)
{
    struct lb_offload *offload = ctx->offload;
    uint32_t index = session->offload - 1;
    struct lb_seated *seat = &offload->at[index];
    lb_offload_count(ctx, session);
    for (int side = LB_CLIENT; side <= LB_BACKEND; side++) {
        __atomic_store_n(&offload->lanes[2 * index + (uint32_t)side].open, 0, __ATOMIC_RELEASE);
        forget_side(offload, index, (enum lb_side_name)side);
    }
    if (seat->local)
        lb_local_forget(&offload->local, index);
    session->offload = 0;
    seat->taken = 0;
    if (!seat->waits) /* else the list gives it back */
        lb_seat_give(offload, index);
}
