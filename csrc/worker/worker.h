/* A worker: one thread, one poller, all sessions that it accepted. worker.c is its loop, context.c what its sessions share, control.c its
 * control plane, clients.c whom it accepts. */
#ifndef LB_WORKER_H
#define LB_WORKER_H

#include "../l4/listeners.h"
#include "../l4/preread.h"
#include "../l4/session.h"
#include "../l4/udp.h"
#include "../l7/http.h"
#include "../l7/l7_worker.h"
#include "../lb.h"

enum { LB_WORKER_EVENTS = 256 };

struct lb_worker {
    struct lb_worker_context ctx;
    struct lb_l7 l7;
    struct lb_udp udp;
    struct lb_prereads prereads;
    struct lb_listeners listeners;
    int own_process;
    int channel;         /* -1 once the control plane is gone: go on with the table as it stands */
    int adopted;         /* the channel came by the adoption socket: it is ours to close */
    int adoption_socket; /* -1: nobody is waited for */
    const char *adoption_path;
    uint64_t cuts_seen;
    uint64_t drain_until_ms; /* 0: not draining */
    int done;
    struct epoll_event events[LB_WORKER_EVENTS];
};

/* --- context.c --- */
__attribute__((warn_unused_result)) int lb_worker_context_open(struct lb_worker_context *ctx, const struct lb_worker_setup *setup,
                                                               uint32_t sessions);
void lb_worker_context_close(struct lb_worker_context *ctx);

/* --- control.c --- */
/* Watch a descriptor of which there is one: 0, or -errno. */
__attribute__((warn_unused_result)) int lb_worker_watch(struct lb_worker *worker, int fd, enum lb_tag kind);
void lb_worker_set_state(struct lb_worker *worker, enum lb_worker_state state);
/* The channel has notes, or has ended. */
void lb_worker_hear(struct lb_worker *worker);
/* Another control plane knocks at the adoption socket. */
void lb_worker_admit(struct lb_worker *worker);
void lb_worker_leave_adoption_socket(struct lb_worker *worker);
/* What this turn has to tell. */
void lb_worker_report_alerts(struct lb_worker *worker);
void lb_worker_report_closed(struct lb_worker *worker);
void lb_worker_report_shortage(struct lb_worker *worker);

/* --- clients.c: what listeners and prereads call, with the worker as their context --- */
/* An accepted connection. */
void lb_worker_take(void *context, int client, uint32_t listener, const union lb_address *peer);
/* A client that is ready to be served, by its listener's mode. */
void lb_worker_serve_client(void *context, const struct lb_accepted *accepted);
/* Where a client of TLS wants to go. */
uint32_t lb_worker_pool_of_name(void *context, uint32_t listener, const struct lb_hello *hello, const union lb_address *client);

#endif
