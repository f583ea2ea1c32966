#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "core/congestion.h"
#include "core/net.h"
#include "l4/admit.h"
#include "l4/preread.h"
#include "l4/listeners.h"
#include "l4/offload/offload.h"
#include "l4/worker_context.h"
#include "l4/udp.h"
#include "l4/udp_move.h"
#include "l7/l7_worker.h"
#include "l7/http.h"
#include "lb.h"
#include "adoption_socket.h"
#include "table/account.h"

enum {
    EVENTS = 256,
    WARM_BUFFERS = 64,
    LARGE_BUFFERS = 1024, /* for heads that need them, all at once; only address space until then */
    WARM_LARGE = 4,
    SHORTAGE_EVERY_MS = 1000,
};

/* A worker: one thread, one poller, all sessions that it accepted. */
struct worker {
    struct lb_worker_context ctx;
    struct lb_l7 l7;
    struct lb_udp udp;
    struct lb_prereads prereads;
    struct lb_listeners listeners;
    int own_process;
    int channel; /* -1 once the control plane is gone: go on with the table as it stands */
    int adopted; /* the channel came by the adoption socket: it is ours to close */
    int adoption_socket;  /* -1: nobody is waited for */
    const char *adoption_path;
    uint64_t cuts_seen;
    uint64_t drain_until_ms; /* 0: not draining */
    int done;
    struct epoll_event events[EVENTS];
};

/* --- birth and death ------------------------------------------------------------------------------------------------ */

static int open_cursors(struct lb_worker_context *ctx)
{
    uint32_t pools = ctx->shm.head->max_pools;
    ctx->cursors = calloc(pools, sizeof *ctx->cursors);
    if (!ctx->cursors)
        return -ENOMEM;
    for (uint32_t i = 0; i < pools; i++) {
        /* workers start apart, so that together they do not favour the first of a short schedule */
        ctx->cursors[i].seed = (ctx->now_us ^ UINT64_C(0x9e3779b97f4a7c15)) * (ctx->worker + 1) + i + 1;
        ctx->cursors[i].turn = ctx->worker;
    }
    return 0;
}

static int open_context(struct lb_worker_context *ctx, const struct lb_worker_setup *setup, uint32_t sessions)
{
    ctx->epoll = -1;
    ctx->ready = ctx->starved = LB_SLAB_NONE;
    int error = lb_shm_attach(&ctx->shm, setup->memory, setup->bytes);
    if (error || setup->worker >= ctx->shm.head->workers)
        return error ? error : -EINVAL;
    ctx->worker = setup->worker;
    ctx->row = lb_shm_worker(&ctx->shm, setup->worker);
    ctx->datapath = ctx->shm.head->datapath;
    ctx->offload = setup->offload;
    ctx->row->forwards_asked = setup->offload_asked;
    ctx->row->forwards = setup->offload ? lb_offload_forwards(setup->offload) : 0;
    ctx->now_us = lb_net_now_us();
    ctx->loopback_control = lb_congestion_for_loopback();
    lb_wheel_open(&ctx->wheel, lb_now_ms(ctx));
    error = lb_slab_open(&ctx->sessions, sizeof(struct lb_session), sessions);
    if (!error) /* one a connection that there is room for at most: never short */
        error = lb_slab_open(&ctx->proxy_info, sizeof(struct lb_proxy_info), sessions);
    if (!error)
        error = lb_buffer_pool_open(&ctx->buffers, LB_BUFFER_BYTES, setup->max_buffers, WARM_BUFFERS);
    if (!error)
        error = lb_buffer_pool_open(&ctx->large, LB_LARGE_BYTES, LARGE_BUFFERS, WARM_LARGE);
    if (!error)
        error = lb_pipe_pool_open(&ctx->pipes, setup->max_pipes);
    if (!error)
        error = open_cursors(ctx);
    if (!error && !(ctx->scratch = malloc(LB_SCRATCH_BYTES)))
        error = -ENOMEM;
    const struct lb_head *head = ctx->shm.head;
    /* a client each, its session's backend, and as many kept connections */
    lb_tls_rules_prepare(&ctx->tls, head->max_listeners, head->max_pools, head->max_backends, 3 * sessions);
    if (!error && (ctx->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0)
        error = -errno;
    return error;
}

static void close_context(struct lb_worker_context *ctx)
{
    if (ctx->epoll >= 0)
        close(ctx->epoll);
    free(ctx->scratch);
    free(ctx->cursors);
    lb_pipe_pool_close(&ctx->pipes);
    lb_buffer_pool_close(&ctx->large);
    lb_buffer_pool_close(&ctx->buffers);
    lb_slab_close(&ctx->proxy_info);
    lb_slab_close(&ctx->sessions);
}

static int watch(struct worker *worker, int fd, enum lb_tag kind)
{
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = lb_tag_of(kind, 0, 0)};
    return epoll_ctl(worker->ctx.epoll, EPOLL_CTL_ADD, fd, &event) < 0 ? -errno : 0;
}

static void set_state(struct worker *worker, enum lb_worker_state state)
{
    struct lb_worker_row *row = worker->ctx.row;
    row->pid = (uint32_t)getpid();
    __atomic_store_n(&row->state, state, __ATOMIC_RELEASE);
}

/* --- the control plane's notes -------------------------------------------------------------------------------------- */

static void listen_on(struct worker *worker, uint32_t listener, int fd, uint64_t how)
{
    int udp = listener < worker->listeners.count && worker->ctx.shm.listeners[listener].mode == LB_MODE_UDP;
    int error = udp ? lb_udp_add(&worker->udp, listener, fd, (how & LB_LISTEN_SESSIONS_FIRST) != 0)
                    : lb_listeners_add(&worker->listeners, &worker->ctx, listener, fd, (how & LB_LISTEN_OWN) != 0);
    if (!error)
        (void)lb_channel_send(worker->channel, LB_NOTE_LISTENING, listener, 0);
}

static void stop_listening(struct worker *worker, uint32_t listener, int ends)
{
    if (lb_udp_has(&worker->udp, listener))
        lb_udp_remove(&worker->udp, listener);
    else
        lb_listeners_remove(&worker->listeners, &worker->ctx, listener, ends);
}

static void drain(struct worker *worker, uint64_t limit_ms, int gently)
{
    for (uint32_t i = 0; i < worker->listeners.count; i++)
        stop_listening(worker, i, !gently);
    worker->drain_until_ms = lb_now_ms(&worker->ctx) + limit_ms + 1;
    lb_l7_drain(&worker->l7, gently);
    set_state(worker, LB_WORKER_DRAINING);
}

static void obey(struct worker *worker, const struct lb_note *note, int descriptor)
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

static void leave_adoption_socket(struct worker *worker)
{
    if (worker->adoption_socket < 0)
        return;
    lb_adoption_socket_close(worker->adoption_socket, worker->adoption_path);
    worker->adoption_socket = -1;
}

static void lose_channel(struct worker *worker)
{
    (void)epoll_ctl(worker->ctx.epoll, EPOLL_CTL_DEL, worker->channel, NULL);
    if (worker->adopted)
        close(worker->channel);
    worker->channel = -1;
    if (worker->own_process)
        signal(SIGTERM, SIG_DFL);
    if (!worker->adoption_path || worker->drain_until_ms)
        return;
    worker->adoption_socket = lb_adoption_socket_open(worker->adoption_path);
    if (worker->adoption_socket >= 0 && watch(worker, worker->adoption_socket, LB_TAG_ADOPTION) < 0)
        leave_adoption_socket(worker);
}

/* Tell a new control plane what we serve, and give it a copy of each socket. */
static void introduce(struct worker *worker)
{
    lb_udp_move_read_all(&worker->udp); /* whoever was to tell us when is gone */
    for (uint32_t i = 0; i < worker->listeners.count; i++) {
        int fd = lb_udp_has(&worker->udp, i) ? worker->udp.at[i].fd : worker->listeners.at[i].fd;
        if (fd >= 0)
            (void)lb_channel_send_descriptor(worker->channel, LB_NOTE_LISTENING, i, fd);
    }
    (void)lb_channel_send(worker->channel, LB_NOTE_READY, worker->ctx.worker, 0);
}

static void admit(struct worker *worker)
{
    int channel = lb_adoption_socket_admit(worker->adoption_socket);
    if (channel < 0)
        return;
    if (watch(worker, channel, LB_TAG_CHANNEL) < 0) {
        close(channel);
        return;
    }
    leave_adoption_socket(worker);
    worker->channel = channel;
    worker->adopted = 1;
    if (worker->own_process)
        signal(SIGTERM, SIG_IGN);
    introduce(worker);
}

static void hear(struct worker *worker)
{
    struct lb_note note;
    int descriptor, got = 0;
    while (worker->channel >= 0 && (got = lb_channel_receive(worker->channel, &note, &descriptor)) > 0)
        obey(worker, &note, descriptor);
    if (got < 0)
        lose_channel(worker);
}

static void report_alerts(struct worker *worker)
{
    struct lb_worker_context *ctx = &worker->ctx;
    for (uint32_t i = 0; i < ctx->alerts && worker->channel >= 0; i++)
        (void)lb_channel_send(worker->channel, LB_NOTE_FAILING, ctx->alert[i].backend, ctx->alert[i].what);
    for (uint32_t i = 0; i < ctx->refusals.count && worker->channel >= 0; i++)
        (void)lb_channel_send_refusal(worker->channel, &ctx->refusals.waiting[i]);
    ctx->alerts = ctx->refusals.count = 0;
}

/* Their rows may be taken anew. */
static void report_closed(struct worker *worker)
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
static void report_shortage(struct worker *worker)
{
    struct lb_shortage *shortage = &worker->ctx.shortage;
    uint64_t now_ms = lb_now_ms(&worker->ctx);
    if (now_ms - shortage->told_ms < SHORTAGE_EVERY_MS || worker->channel < 0)
        return;
    (void)lb_channel_send(worker->channel, LB_NOTE_SHORTAGE, (uint32_t)shortage->error, shortage->backend);
    *shortage = (struct lb_shortage){.told_ms = now_ms};
}

/* --- one turn of the loop ------------------------------------------------------------------------------------------- */

static void session_event(struct lb_worker_context *ctx, uint32_t index, uint32_t generation, enum lb_side_name side,
                          uint32_t events)
{
    struct lb_session *session = lb_slab_at(&ctx->sessions, index);
    if (session->generation == generation && session->state != LB_SESSION_FREE)
        lb_session_event(ctx, session, side, events);
}

/* Places of connections that have ended are free only when the lists of this turn have let go of them. */
static int refuse_without_place(struct lb_worker_context *ctx, const struct lb_slab *slab, const struct lb_accepted *accepted)
{
    struct lb_side client = {.fd = accepted->fd, .tls = accepted->tls};
    if (slab->used < slab->capacity)
        return 0;
    lb_count_refused(ctx, &ctx->row->refused_resource);
    lb_side_close(&client, 1);
    return 1;
}

/* A client that is ready to be served, by its listener's mode. */
static void serve_client(void *context, const struct lb_accepted *accepted)
{
    struct worker *worker = context;
    uint32_t mode = worker->ctx.shm.listeners[accepted->listener].mode;
    int http = mode == LB_MODE_HTTP || mode == LB_MODE_HTTPS;
    struct lb_ends ends = accepted->ends;
    if (refuse_without_place(&worker->ctx, http ? &worker->l7.clients : &worker->ctx.sessions, accepted))
        lb_ends_drop(&worker->ctx, &ends);
    else if (http)
        lb_http_open(&worker->l7, accepted);
    else
        lb_session_open(&worker->ctx, accepted);
}

/* An accepted connection. */
static void take(void *context, int client, uint32_t listener, const union lb_address *peer)
{
    struct worker *worker = context;
    struct lb_accepted accepted = {.fd = client,
                                   .listener = listener,
                                   .pool = worker->ctx.shm.listeners[listener].pool,
                                   .accepted_us = (uint32_t)worker->ctx.now_us,
                                   .ends.client = *peer};
    lb_account_accepted(&worker->ctx.shm, worker->ctx.worker, listener);
    if (!lb_admit(&worker->ctx, listener, &accepted.ends))
        lb_net_reset(client);
    else if (!lb_preread_is_due(&worker->ctx, listener, peer))
        serve_client(worker, &accepted);
    else if (!refuse_without_place(&worker->ctx, &worker->prereads.slab, &accepted))
        lb_preread_open(&worker->prereads, &accepted);
    else
        lb_ends_drop(&worker->ctx, &accepted.ends);
}

/* Where a client of TLS wants to go. */
static uint32_t pool_of_name(void *context, uint32_t listener, const struct lb_hello *hello)
{
    struct worker *worker = context;
    struct lb_routed_to to = {.pool = worker->ctx.shm.listeners[listener].pool};
    lb_routes_match_name(worker->l7.routes, listener, hello, &to);
    return to.pool;
}

/* One that was told in this turn may be of what an earlier one has closed. */
static void dispatch(struct worker *worker, const struct epoll_event *event)
{
    struct lb_worker_context *ctx = &worker->ctx;
    uint32_t index = lb_tag_index(event->data.u64), generation = lb_tag_generation(event->data.u64);
    enum lb_tag tag = lb_tag_kind(event->data.u64);
    switch (tag) {
    case LB_TAG_CHANNEL:
        hear(worker);
        break;
    case LB_TAG_ADOPTION:
        admit(worker);
        break;
    case LB_TAG_OFFLOAD:
        lb_offload_notes(&worker->ctx);
        break;
    case LB_TAG_PREDECESSOR:
        lb_udp_move_receive(&worker->udp);
        break;
    case LB_TAG_SUCCESSOR:
        lb_udp_move_send(&worker->udp);
        break;
    case LB_TAG_LISTENER:
        if (lb_udp_has(&worker->udp, index))
            lb_udp_listener_event(&worker->udp, index);
        else
            lb_listeners_event(&worker->listeners, ctx, index);
        break;
    case LB_TAG_CLIENT:
    case LB_TAG_BACKEND:
        session_event(ctx, index, generation, (enum lb_side_name)tag, event->events);
        break;
    case LB_TAG_HTTP:
        lb_http_event(&worker->l7, index, generation, event->events);
        break;
    case LB_TAG_CONNECTION:
        lb_http_conn_event(&worker->l7, index, generation, event->events);
        break;
    case LB_TAG_UDP:
        lb_udp_event(&worker->udp, index, generation, event->events);
        break;
    case LB_TAG_PREREAD:
        lb_preread_event(&worker->prereads, index, generation, event->events);
        break;
    }
}

/* First those of idle connections to backends: none is given a request after something has come on it. */
static void dispatch_all(struct worker *worker, int count)
{
    worker->ctx.more_events = count == EVENTS;
    for (int i = 0; i < count; i++) {
        uint64_t tag = worker->events[i].data.u64;
        if (lb_tag_kind(tag) == LB_TAG_CONNECTION)
            lb_http_idle_event(&worker->l7, lb_tag_index(tag), lb_tag_generation(tag), worker->events[i].events);
    }
    for (int i = 0; i < count; i++)
        dispatch(worker, &worker->events[i]);
}

static void run_list(struct lb_worker_context *ctx, uint32_t *list)
{
    uint32_t index = *list;
    *list = LB_SLAB_NONE;
    while (index != LB_SLAB_NONE) {
        struct lb_session *session = lb_slab_at(&ctx->sessions, index);
        index = session->next;
        lb_session_resume(ctx, session);
    }
}

static void fire(void *context, struct lb_timer *timer)
{
    lb_session_timeout(context, (struct lb_session *)(void *)timer);
}

static void look_at_table(struct worker *worker)
{
    struct lb_worker_context *ctx = &worker->ctx;
    uint64_t cuts = __atomic_load_n(&ctx->shm.head->cuts, __ATOMIC_ACQUIRE);
    if (cuts != worker->cuts_seen) {
        worker->cuts_seen = cuts;
        lb_session_cut(ctx);
        lb_l7_cut(&worker->l7);
        lb_udp_cut(&worker->udp);
    }
    ctx->row->generation = __atomic_load_n(&ctx->shm.head->generation, __ATOMIC_ACQUIRE);
}

static int sooner(int a, int b)
{
    return a < 0 ? b : b < 0 ? a : a < b ? a : b;
}

static int patience_ms(const struct worker *worker)
{
    const struct lb_worker_context *ctx = &worker->ctx;
    uint64_t now_ms = lb_now_ms(ctx);
    if (ctx->ready != LB_SLAB_NONE || (ctx->starved != LB_SLAB_NONE && lb_buffer_pool_ready(&ctx->buffers)))
        return 0;
    int wait = sooner(lb_wheel_wait(&ctx->wheel, now_ms), lb_listeners_wait(&worker->listeners, ctx));
    wait = sooner(wait, lb_l7_wait(&worker->l7));
    wait = sooner(wait, lb_udp_wait(&worker->udp));
    wait = sooner(wait, lb_prereads_wait(&worker->prereads));
    if (ctx->offload)
        wait = sooner(wait, lb_offload_wait(ctx));
    if (worker->drain_until_ms)
        wait = sooner(wait, worker->drain_until_ms > now_ms ? (int)(worker->drain_until_ms - now_ms) : 0);
    return wait;
}

static int drained(const struct worker *worker)
{
    int idle = worker->ctx.row->active + worker->ctx.prereads == 0 && worker->listeners.open == 0 && worker->udp.open == 0;
    if (lb_udp_is_moving(&worker->udp))
        return 0;
    return worker->drain_until_ms && (idle || lb_now_ms(&worker->ctx) >= worker->drain_until_ms);
}

static int turn(struct worker *worker)
{
    struct lb_worker_context *ctx = &worker->ctx;
    int count = epoll_wait(ctx->epoll, worker->events, EVENTS, patience_ms(worker));
    if (count < 0 && errno != EINTR)
        return -errno;
    ctx->now_us = lb_net_now_us();
    ctx->tls.shared.turn++;
    dispatch_all(worker, count);
    run_list(ctx, &ctx->ready);
    if (ctx->starved != LB_SLAB_NONE && lb_buffer_pool_ready(&ctx->buffers))
        run_list(ctx, &ctx->starved);
    lb_wheel_turn(&ctx->wheel, lb_now_ms(ctx), fire, ctx);
    if (ctx->offload)
        lb_offload_turn(ctx);
    lb_l7_turn(&worker->l7);
    lb_udp_turn(&worker->udp);
    lb_prereads_turn(&worker->prereads);
    look_at_table(worker);
    lb_listeners_resume(&worker->listeners, ctx);
    if (ctx->alerts || ctx->refusals.count)
        report_alerts(worker);
    report_closed(worker);
    if (ctx->shortage.error)
        report_shortage(worker);
    ctx->row->heartbeat_ms = lb_now_ms(ctx);
    lb_add(&ctx->row->turns, 1);
    return 0;
}

static int serve(struct worker *worker)
{
    int error = watch(worker, worker->channel, LB_TAG_CHANNEL);
    if (!error && worker->ctx.offload)
        error = watch(worker, lb_offload_descriptor(worker->ctx.offload), LB_TAG_OFFLOAD);
    if (error)
        return error;
    set_state(worker, LB_WORKER_SERVING);
    (void)lb_channel_send(worker->channel, LB_NOTE_READY, worker->ctx.worker, 0);
    while (!error && !worker->done && !drained(worker))
        error = turn(worker);
    lb_session_stop_all(&worker->ctx);
    lb_l7_stop(&worker->l7);
    lb_udp_stop(&worker->udp);
    lb_prereads_stop(&worker->prereads);
    set_state(worker, LB_WORKER_GONE);
    return error;
}

/* splice(2) into a broken connection raises SIGPIPE, unlike send with MSG_NOSIGNAL; and in somebody else's process, signals are
 * for other threads. */
static void block_signals(int own_process, sigset_t *before)
{
    sigset_t blocked;
    if (own_process) {
        sigemptyset(&blocked);
        sigaddset(&blocked, SIGPIPE);
    } else {
        sigfillset(&blocked);
    }
    pthread_sigmask(SIG_BLOCK, &blocked, before);
}

/* A SIGPIPE that was raised meanwhile still waits for this thread: it is taken, else it would come with the old mask. */
static void restore_signals(const sigset_t *before)
{
    static const struct timespec now = {0, 0};
    sigset_t broken_pipe;
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    while (sigtimedwait(&broken_pipe, NULL, &now) < 0 && errno == EINTR)
        ;
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

int lb_worker_run(const struct lb_worker_setup *setup)
{
    uint32_t sessions = setup->max_sessions < LB_MOST_SESSIONS ? setup->max_sessions : LB_MOST_SESSIONS;
    sigset_t signals_before;
    struct worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return -ENOMEM;
    worker->channel = setup->channel;
    worker->own_process = setup->own_process;
    worker->adoption_socket = -1;
    worker->adoption_path = setup->adoption_socket;
    block_signals(setup->own_process, &signals_before);
    int error = open_context(&worker->ctx, setup, sessions);
    if (!error)
        error = lb_l7_open(&worker->l7, &worker->ctx, sessions);
    if (!error)
        error = lb_udp_open(&worker->udp, &worker->ctx, sessions);
    if (!error)
        error = lb_prereads_open(&worker->prereads, &worker->ctx, sessions, setup->max_handshakes);
    worker->prereads.done = serve_client;
    worker->prereads.named = pool_of_name;
    worker->prereads.context = worker;
    if (!error)
        error = lb_listeners_open(&worker->listeners, worker->ctx.shm.head->max_listeners, take, worker);
    if (!error)
        error = serve(worker);
    lb_listeners_close(&worker->listeners);
    lb_l7_close(&worker->l7);
    lb_udp_close(&worker->udp);
    lb_prereads_close(&worker->prereads);
    lb_tls_rules_close(&worker->ctx.tls);
    leave_adoption_socket(worker);
    if (worker->adopted && worker->channel >= 0)
        close(worker->channel);
    close_context(&worker->ctx);
    free(worker);
    restore_signals(&signals_before);
    return error;
}
