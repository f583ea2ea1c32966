#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "../core/net.h"
#include "../l4/offload/offload.h"
#include "../l4/udp_move.h"
#include "../l7/http2.h"
#include "../l7/http_servers.h"
#include "worker.h"

/* --- one turn of the loop ------------------------------------------------------------------------------------------- */

static void session_event(struct lb_worker_context *ctx, uint32_t index, uint32_t generation, enum lb_side_name side,
                          uint32_t events)
{
    struct lb_session *session = lb_slab_at(&ctx->sessions, index);
    if (session->generation == generation && session->state != LB_SESSION_FREE)
        lb_session_event(ctx, session, side, events);
}

/* One that was told in this turn may be of what an earlier one has closed. */
static void dispatch(struct lb_worker *worker, const struct epoll_event *event)
{
    struct lb_worker_context *ctx = &worker->ctx;
    uint32_t index = lb_tag_index(event->data.u64), generation = lb_tag_generation(event->data.u64);
    enum lb_tag tag = lb_tag_kind(event->data.u64);
    switch (tag) {
    case LB_TAG_CHANNEL:
        lb_worker_hear(worker);
        break;
    case LB_TAG_ADOPTION:
        lb_worker_admit(worker);
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
    case LB_TAG_HTTP2:
        lb_h2_event(&worker->l7, index, generation, event->events);
        break;
    case LB_TAG_H2_SERVER:
        lb_http_server_event(&worker->l7, index, generation, event->events);
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
static void dispatch_all(struct lb_worker *worker, int count)
{
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

static void look_at_table(struct lb_worker *worker)
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

static int patience_ms(const struct lb_worker *worker)
{
    const struct lb_worker_context *ctx = &worker->ctx;
    uint64_t now_ms = lb_now_ms(ctx);
    if (ctx->ready != LB_SLAB_NONE || (ctx->starved != LB_SLAB_NONE && lb_buffer_pool_ready(&ctx->buffers)))
        return 0;
    int wait = sooner(lb_wheel_wait(&ctx->wheel, now_ms), lb_listeners_wait(&worker->listeners, ctx));
    wait = sooner(wait, lb_l7_wait(&worker->l7));
    wait = sooner(wait, lb_udp_wait(&worker->udp));
    wait = sooner(wait, lb_prereads_wait(&worker->prereads));
    wait = sooner(wait, sooner(lb_buffer_pool_wait(&ctx->buffers, now_ms), lb_buffer_pool_wait(&ctx->large, now_ms)));
    if (ctx->offload)
        wait = sooner(wait, lb_offload_wait(ctx));
    if (worker->drain_until_ms)
        wait = sooner(wait, worker->drain_until_ms > now_ms ? (int)(worker->drain_until_ms - now_ms) : 0);
    return wait;
}

static int drained(const struct lb_worker *worker)
{
    int idle = worker->ctx.row->active + worker->ctx.prereads == 0 && worker->listeners.open == 0 && worker->udp.open == 0 &&
               lb_loop_has_sent_all(&worker->ctx.loop);
    if (lb_udp_is_moving(&worker->udp))
        return 0;
    return worker->drain_until_ms && (idle || lb_now_ms(&worker->ctx) >= worker->drain_until_ms);
}

/* What will have come on connections that carry several requests is then read, and answered, at once. */
static void gather(struct lb_worker *worker)
{
    uint32_t us = lb_gather_us(&worker->l7.servers.gather, worker->ctx.now_us);
    if (us)
        lb_loop_pause(&worker->ctx.loop, us);
}

static int turn(struct lb_worker *worker)
{
    struct lb_worker_context *ctx = &worker->ctx;
    int patience = patience_ms(worker);
    if (patience && lb_http_servers_are_used(&worker->l7))
        gather(worker);
    int count = lb_loop_wait(&ctx->loop, worker->events, LB_WORKER_EVENTS, patience);
    if (count < 0 && count != -EINTR)
        return count;
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
    lb_buffer_pool_trim(&ctx->buffers, lb_now_ms(ctx));
    lb_buffer_pool_trim(&ctx->large, lb_now_ms(ctx));
    look_at_table(worker);
    lb_listeners_resume(&worker->listeners, ctx);
    if (ctx->alerts || ctx->refusals.count)
        lb_worker_report_alerts(worker);
    lb_worker_report_closed(worker);
    if (ctx->shortage.error)
        lb_worker_report_shortage(worker);
    ctx->row->heartbeat_ms = lb_now_ms(ctx);
    lb_add(&ctx->row->turns, 1);
    return 0;
}

static int serve(struct lb_worker *worker)
{
    int error = lb_worker_watch(worker, worker->channel, LB_TAG_CHANNEL);
    if (!error && worker->ctx.offload)
        error = lb_worker_watch(worker, lb_offload_descriptor(worker->ctx.offload), LB_TAG_OFFLOAD);
    if (error)
        return error;
    lb_worker_set_state(worker, LB_WORKER_SERVING);
    (void)lb_channel_send(worker->channel, LB_NOTE_READY, worker->ctx.worker, 0);
    while (!error && !worker->done && !drained(worker))
        error = turn(worker);
    lb_session_stop_all(&worker->ctx);
    lb_l7_stop(&worker->l7);
    lb_udp_stop(&worker->udp);
    lb_prereads_stop(&worker->prereads);
    lb_worker_set_state(worker, LB_WORKER_GONE);
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
    struct lb_worker *worker = calloc(1, sizeof *worker);
    if (!worker)
        return -ENOMEM;
    worker->channel = setup->channel;
    worker->own_process = setup->own_process;
    worker->adoption_socket = -1;
    worker->adoption_path = setup->adoption_socket;
    block_signals(setup->own_process, &signals_before);
    int error = lb_worker_context_open(&worker->ctx, setup, sessions);
    if (!error)
        error = lb_l7_open(&worker->l7, &worker->ctx, sessions);
    if (!error)
        error = lb_udp_open(&worker->udp, &worker->ctx, sessions);
    if (!error)
        error = lb_prereads_open(&worker->prereads, &worker->ctx, sessions, setup->max_handshakes);
    worker->prereads.done = lb_worker_serve_client;
    worker->prereads.named = lb_worker_pool_of_name;
    worker->prereads.context = worker;
    if (!error)
        error = lb_listeners_open(&worker->listeners, worker->ctx.shm.head->max_listeners, lb_worker_take, worker);
    if (!error)
        error = serve(worker);
    lb_listeners_close(&worker->listeners);
    lb_l7_close(&worker->l7);
    lb_udp_close(&worker->udp);
    lb_prereads_close(&worker->prereads);
    lb_tls_rules_close(&worker->ctx.tls);
    lb_worker_leave_adoption_socket(worker);
    if (worker->adopted && worker->channel >= 0)
        close(worker->channel);
    lb_worker_context_close(&worker->ctx);
    free(worker);
    restore_signals(&signals_before);
    return error;
}
