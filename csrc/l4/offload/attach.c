#include <errno.h>
#include <sys/socket.h>

#include "../../core/bpf.h"
#include "progress.h"
#include "slots.h"

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

static int describe(struct lb_slot_state *slot, const struct lb_session *session)
{
    for (int i = LB_CLIENT; i <= LB_BACKEND; i++) {
        socklen_t size = sizeof slot->cookie[i];
        if (getsockopt(session->side[i].fd, SOL_SOCKET, SO_COOKIE, &slot->cookie[i], &size) < 0)
            return -errno;
        int error = lb_progress_queued(session->side[i].fd, &slot->start[i]);
        if (error)
            return error;
    }
    return 0;
}

static int slot_side(struct lb_worker_context *ctx, const struct lb_session *session, uint32_t index, enum lb_side_name side)
{
    struct lb_offload *offload = ctx->offload;
    struct lb_slot_state *slot = &offload->at[index];
    struct lb_slot place = {.peer = slot->cookie[!side], .lane = 2 * index + side, .generation = slot->generation};
    int error = lb_bpf_put(offload->maps.slots, &slot->cookie[side], &place);
    if (!error)
        error = lb_bpf_put(offload->maps.sockets, &slot->cookie[side], &session->side[side].fd);
    slot->attached[side] = !error;
    return error;
}

static void forget_side(struct lb_offload *offload, uint32_t index, enum lb_side_name side)
{
    (void)lb_bpf_remove(offload->maps.slots, &offload->at[index].cookie[side]);
}

static int refuse(struct lb_worker_context *ctx, struct lb_session *session)
{
    session->reads = LB_OFFLOAD_REFUSED;
    if (ctx->offload->which & LB_OFFLOAD_ANY) /* else most are not meant to be handed over */
        lb_add(&ctx->row->offload_misses, 1);
    return 0;
}

/* Its slot, and empty lanes. */
static uint32_t slot_session(struct lb_worker_context *ctx, const struct lb_session *session, int local)
{
    struct lb_offload *offload = ctx->offload;
    uint32_t index = lb_slot_take(offload);
    if (index == LB_NO_SLOT)
        return LB_NO_SLOT;
    struct lb_slot_state *slot = &offload->at[index];
    *slot = (struct lb_slot_state){.generation = slot->generation + 1, .next = LB_NO_SLOT, .taken = 1, .local = (uint8_t)local};
    slot->session = lb_slab_index(&ctx->sessions, session);
    for (int side = LB_CLIENT; side <= LB_BACKEND; side++)
        offload->lanes[2 * index + (uint32_t)side] = (struct lb_slot_lane){.due_taken = UINT64_MAX};
    return index;
}

static void open_lane(struct lb_offload *offload, uint32_t index, enum lb_side_name from)
{
    __atomic_store_n(&offload->lanes[2 * index + (uint32_t)from].open, 1, __ATOMIC_RELEASE);
}

/* The backend's socket is in the map; the client's comes next. From then on its program sees every byte, so its lane is open before, and the
 * other after: what a program sends to a socket outside the map is refused. */
static int attach_local_client(struct lb_worker_context *ctx, struct lb_session *session, uint32_t index)
{
    struct lb_offload *offload = ctx->offload;
    struct lb_slot_state *slot = &offload->at[index];
    socklen_t size = sizeof slot->cookie[LB_CLIENT];
    struct lb_slot place = {.lane = 2 * index + LB_CLIENT, .generation = slot->generation};
    const uint64_t fd = (uint64_t)session->side[LB_CLIENT].fd;
    if (getsockopt(session->side[LB_CLIENT].fd, SOL_SOCKET, SO_COOKIE, &slot->cookie[LB_CLIENT], &size) < 0)
        return -errno;
    int error = lb_bpf_put(offload->maps.slots, &slot->cookie[LB_CLIENT], &place);
    if (error)
        return error;
    open_lane(offload, index, LB_CLIENT);
    error = lb_bpf_put(offload->local.maps.clients, &slot->cookie[LB_CLIENT], &fd);
    slot->attached[LB_CLIENT] = !error;
    if (error)
        forget_side(offload, index, LB_CLIENT);
    else
        open_lane(offload, index, LB_BACKEND);
    return error;
}

/* Small messages, to a backend of this host: true, if it is attached now; then it is run once more. *final: it is answered for good. */
static int take_local(struct lb_worker_context *ctx, struct lb_session *session, int *final)
{
    struct lb_offload *offload = ctx->offload;
    uint32_t index = slot_session(ctx, session, 1);
    *final = 1;
    if (index == LB_NO_SLOT)
        return refuse(ctx, session);
    int found = lb_local_find(&offload->local, index, session->side[LB_CLIENT].fd, session->side[LB_BACKEND].fd);
    if (found == LB_LOCAL_ATTACHED && attach_local_client(ctx, session, index) == 0) {
        session->offload = index + 1;
        (void)lb_slot_watch(ctx, session, LB_CLIENT, 0); /* else it is woken more often than it need be */
        session->side[LB_CLIENT].readable = 1;
        lb_add(&ctx->row->offloads, 1);
        lb_add(&ctx->row->offloads_local, 1);
        return 1;
    }
    if (found == LB_LOCAL_ATTACHED)
        lb_local_forget(&offload->local, index);
    lb_slot_give(offload, index);
    *final = found != LB_LOCAL_BUSY; /* else it is asked again, until it has brought too much */
    return 0;
}

static int suits_local(const struct lb_offload *offload, const struct lb_session *session)
{
    return offload->which & LB_OFFLOAD_LOCAL && session->bytes[LB_CLIENT] + session->bytes[LB_BACKEND] <= LB_OFFLOAD_SMALL;
}

/* The first socket that is attached may have handed bytes up before the second is refused, so it stays; only nothing is forwarded then. */
int lb_offload_take(struct lb_worker_context *ctx, struct lb_session *session)
{
    struct lb_offload *offload = ctx->offload;
    int final = 1;
    if (!is_fit(session))
        return 0;
    if (suits_local(offload, session) && take_local(ctx, session, &final))
        return 1;
    if (!final)
        return 0;
    if (!(offload->which & LB_OFFLOAD_ANY))
        return refuse(ctx, session);
    uint32_t index = slot_session(ctx, session, 0);
    if (index == LB_NO_SLOT)
        return refuse(ctx, session);
    struct lb_slot_state *slot = &offload->at[index];
    if (describe(slot, session) < 0 || slot_side(ctx, session, index, LB_CLIENT) < 0) {
        forget_side(offload, index, LB_CLIENT);
        lb_slot_give(offload, index);
        return refuse(ctx, session);
    }
    session->offload = index + 1;
    int both = slot_side(ctx, session, index, LB_BACKEND) == 0;
    for (int side = LB_CLIENT; side <= LB_BACKEND; side++) {
        if (lb_slot_watch(ctx, session, (enum lb_side_name)side, 0) < 0)
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
    struct lb_slot_state *slot = &offload->at[index];
    lb_offload_count(ctx, session);
    for (int side = LB_CLIENT; side <= LB_BACKEND; side++) {
        __atomic_store_n(&offload->lanes[2 * index + (uint32_t)side].open, 0, __ATOMIC_RELEASE);
        forget_side(offload, index, (enum lb_side_name)side);
    }
    if (slot->local)
        lb_local_forget(&offload->local, index);
    session->offload = 0;
    slot->taken = 0;
    if (!slot->waits) /* else the list gives it back */
        lb_slot_give(offload, index);
}
