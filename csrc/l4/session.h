/* A session: one client connection, its backend connection, and the two directions between them. */
#ifndef LB_SESSION_H
#define LB_SESSION_H

#include "accepted.h"
#include "session_state.h"

/* Take over a client; the caller has seen that there is room. */
void lb_session_open(struct lb_worker_context *ctx, const struct lb_accepted *accepted);

/* Two connections that something else established, watched by the poller already, and what it read of them. */
struct lb_tunnel {
    struct lb_side client; /* descriptor and TLS count */
    struct lb_side server;
    uint32_t backend; /* charged with it */
    uint32_t cost;    /* so much */
    uint32_t decision;
    uint32_t pool;
    uint32_t listener;
    uint32_t counted; /* as in struct lb_ends */
    uint16_t port;
    uint8_t ip[16]; /* of the client; IPv4 mapped into IPv6 */
    const char *from_client;
    uint32_t from_client_count; /* at most LB_BUFFER_BYTES */
    const char *from_server;
    uint32_t from_server_count;
};

/* Go on as a session, which counts as accepted already: 0, or -ENOBUFS with nothing taken. */
__attribute__((warn_unused_result)) int lb_session_tunnel(struct lb_worker_context *ctx, const struct lb_tunnel *child);

/* An epoll event for one side. */
void lb_session_event(struct lb_worker_context *ctx, struct lb_session *session, enum lb_side_name side, uint32_t events);

/* Go on with a session that stopped at its share of a turn or waited for a buffer. */
void lb_session_resume(struct lb_worker_context *ctx, struct lb_session *session);

/* Go on with a session for which the offload has word. */
void lb_session_wake(struct lb_worker_context *ctx, struct lb_session *session);

/* Its timer fired. */
void lb_session_timeout(struct lb_worker_context *ctx, struct lb_session *session);

/* End the sessions on removed backends. */
void lb_session_cut(struct lb_worker_context *ctx);

/* End all. */
void lb_session_stop_all(struct lb_worker_context *ctx);

#endif
