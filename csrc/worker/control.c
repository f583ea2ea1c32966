#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include "../l4/udp_move.h"
#include "adoption_socket.h"
#include "worker.h"

enum { SHORTAGE_EVERY_MS = 1000 };

int lb_worker_watch(struct lb_worker *worker, int fd, enum lb_tag kind)
{
    return lb_loop_watch(&worker->ctx.loop, fd, EPOLLIN, lb_tag_of(kind, 0, 0));
}

void lb_worker_set_state(struct lb_worker *worker, enum lb_worker_state state)
{
    struct lb_worker_row *row = worker->ctx.row;
    row->pid = (uint32_t)getpid();
    __atomic_store_n(&row->state, state, __ATOMIC_RELEASE);
}

/* --- the control plane's notes -------------------------------------------------------------------------------------- */

static void listen_on(struct lb_worker *worker, uint32_t listener, int fd, uint64_t how)
{
    int udp = listener < worker->listeners.count && worker->ctx.shm.listeners[listener].mode == LB_MODE_UDP;
    int error = udp ? lb_udp_add(&worker->udp, listener, fd, (how & LB_LISTEN_SESSIONS_FIRST) != 0)
                    : lb_listeners_add(&worker->listeners, &worker->ctx, listener, fd, (how & LB_LISTEN_OWN) != 0);
    if (!error)
        (void)lb_channel_send(worker->channel, LB_NOTE_LISTENING, listener, 0);
}

static void stop_listening(struct lb_worker *worker, uint32_t listener, int ends)
{
    if (lb_udp_has(&worker->udp, listener))
        lb_udp_remove(&worker->udp, listener);
    else
        lb_listeners_remove(&worker->listeners, &worker->ctx, listener, ends);
}

static void drain(struct lb_worker *worker, uint64_t limit_ms, int gently)
{
    for (uint32_t i = 0; i < worker->listeners.count; i++)
        stop_listening(worker, i, !gently);
    worker->drain_until_ms = lb_now_ms(&worker->ctx) + limit_ms + 1;
    lb_l7_drain(&worker->l7, gently, limit_ms);
    lb_worker_set_state(worker, LB_WORKER_DRAINING);
}

static void obey(struct lb_worker *worker, const struct lb_note *note, int descriptor)
{
    int kept = 0;
    switch ((enum lb_note_kind)note->kind) {
    case LB_NOTE_LISTEN:
        kept = descriptor >= 0;
        if (kept)
            listen_on(worker, note->id, descriptor, note->value);
        break;
    case LB_NOTE_UNLISTEN:
        stop_listening(worker, note->id, 1);
        if (!lb_udp_has(&worker->udp, note->id)) /* else it is told when its last session has ended */
            (void)lb_channel_send(worker->channel, LB_NOTE_CLOSED, note->id, 0);
        break;
    case LB_NOTE_DRAIN:
        drain(worker, note->value, note->id == LB_DRAIN_GENTLY);
        break;
    case LB_NOTE_STOP:
        worker->done = 1;
        break;
    case LB_NOTE_SUCCEED:
        kept = descriptor >= 0;
        if (kept)
            lb_udp_move_from(&worker->udp, descriptor);
        break;
    case LB_NOTE_MOVE:
        kept = descriptor >= 0;
        if (kept)
            lb_udp_move_to(&worker->udp, descriptor);
        break;
    case LB_NOTE_TLS:
        if (lb_tls_rules_follow(&worker->ctx.tls, (enum lb_tls_kind)note->value, note->id, descriptor) < 0)
            lb_add(&worker->ctx.row->tls_refused, 1); /* the old rules stay */
        break;
    case LB_NOTE_WAKE:
    case LB_NOTE_READY:
    case LB_NOTE_LISTENING:
    case LB_NOTE_FAILING:
    case LB_NOTE_REFUSED:
    case LB_NOTE_SHORTAGE:
    case LB_NOTE_CLOSED:
        break;
    }
    if (descriptor >= 0 && !kept)
        close(descriptor);
}

/* --- an orphan, and who adopts it ----------------------------------------------------------------------------------- */

void lb_worker_leave_adoption_socket(struct lb_worker *worker)
{
    if (worker->adoption_socket < 0)
        return;
    lb_adoption_socket_close(worker->adoption_socket, worker->adoption_path);
    worker->adoption_socket = -1;
}

static void lose_channel(struct lb_worker *worker)
{
    lb_loop_unwatch(&worker->ctx.loop, worker->channel);
    if (worker->adopted)
        close(worker->channel);
    worker->channel = -1;
    if (worker->own_process)
        signal(SIGTERM, SIG_DFL);
    if (!worker->adoption_path || worker->drain_until_ms)
        return;
    worker->adoption_socket = lb_adoption_socket_open(worker->adoption_path);
    if (worker->adoption_socket >= 0 && lb_worker_watch(worker, worker->adoption_socket, LB_TAG_ADOPTION) < 0)
        lb_worker_leave_adoption_socket(worker);
}

/* Tell a new control plane what we serve, and give it a copy of each socket. */
static void introduce(struct lb_worker *worker)
{
    lb_udp_move_read_all(&worker->udp); /* whoever was to tell us when is gone */
    for (uint32_t i = 0; i < worker->listeners.count; i++) {
        int fd = lb_udp_has(&worker->udp, i) ? worker->udp.at[i].fd : worker->listeners.at[i].fd;
        if (fd >= 0)
            (void)lb_channel_send_descriptor(worker->channel, LB_NOTE_LISTENING, i, fd);
    }
    (void)lb_channel_send(worker->channel, LB_NOTE_READY, worker->ctx.worker, 0);
}

void lb_worker_admit(struct lb_worker *worker)
{
    int channel = lb_adoption_socket_admit(worker->adoption_socket);
    if (channel < 0)
        return;
    if (lb_worker_watch(worker, channel, LB_TAG_CHANNEL) < 0) {
        close(channel);
        return;
    }
    lb_worker_leave_adoption_socket(worker);
    worker->channel = channel;
    worker->adopted = 1;
    if (worker->own_process)
        signal(SIGTERM, SIG_IGN);
    introduce(worker);
}

void lb_worker_hear(struct lb_worker *worker)
{
    struct lb_note note;
    int descriptor, got = 0;
    while (worker->channel >= 0 && (got = lb_channel_receive(worker->channel, &note, &descriptor)) > 0)
        obey(worker, &note, descriptor);
    if (got < 0)
        lose_channel(worker);
}

void lb_worker_report_alerts(struct lb_worker *worker)
{
    struct lb_worker_context *ctx = &worker->ctx;
    for (uint32_t i = 0; i < ctx->alerts && worker->channel >= 0; i++)
        (void)lb_channel_send(worker->channel, LB_NOTE_FAILING, ctx->alert[i].backend, ctx->alert[i].what);
    for (uint32_t i = 0; i < ctx->refusals.count && worker->channel >= 0; i++)
        (void)lb_channel_send_refusal(worker->channel, &ctx->refusals.waiting[i]);
    ctx->alerts = ctx->refusals.count = 0;
}

/* Their rows may be taken anew. */
void lb_worker_report_closed(struct lb_worker *worker)
{
    struct lb_udp *udp = &worker->udp;
    for (uint32_t i = 0; i < udp->count && udp->closed; i++) {
        if (!udp->at[i].closed)
            continue;
        udp->at[i].closed = 0;
        udp->closed--;
        if (worker->channel >= 0)
            (void)lb_channel_send(worker->channel, LB_NOTE_CLOSED, i, 0);
    }
}

/* Once a second at most: it is for the log. */
void lb_worker_report_shortage(struct lb_worker *worker)
{
    struct lb_shortage *shortage = &worker->ctx.shortage;
    uint64_t now_ms = lb_now_ms(&worker->ctx);
    if (now_ms - shortage->told_ms < SHORTAGE_EVERY_MS || worker->channel < 0)
        return;
    (void)lb_channel_send(worker->channel, LB_NOTE_SHORTAGE, (uint32_t)shortage->error, shortage->backend);
    *shortage = (struct lb_shortage){.told_ms = now_ms};
}
