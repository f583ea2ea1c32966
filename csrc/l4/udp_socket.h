/* Sockets of listeners of mode udp, and what a worker's udp sessions share. */
#ifndef LB_UDP_SOCKET_H
#define LB_UDP_SOCKET_H

#include "datagrams.h"
#include "worker_context.h"

struct lb_udp_socket {
    int fd;          /* -1: not served */
    uint8_t closing; /* takes no new client; closed with its last session */
    uint8_t moves;   /* its sessions go to the worker that replaces this one (udp_move.h) */
    uint8_t closed;  /* with its last session, after it was removed: to be told */
    uint8_t waits;   /* is not read until the sessions of the worker before have come */
    uint32_t sessions;
};

/* One worker's. */
struct lb_udp {
    struct lb_worker_context *ctx;
    struct lb_udp_socket *at; /* by listener row */
    uint32_t count;
    uint32_t open;
    uint32_t closed;         /* sockets to be told of */
    struct lb_slab sessions; /* udp_session.h */
    uint32_t *bucket;        /* heads of lists, by hash of listener and client */
    uint32_t mask;
    uint8_t hash_key[16]; /* secret: nobody can choose who shares a list */
    struct lb_wheel wheel;
    struct lb_inbox inbox;
    struct lb_outbox outbox;
    /* udp_move.h; -1: none */
    int successor;          /* where our sessions go */
    uint32_t next_to_move;  /* of these: its index */
    int predecessor;        /* where others' sessions come from */
    uint64_t move_until_ms; /* after that nobody waits for the other worker any more */
};

/* Serve a socket (owned from now on, also on failure); one that was removed, and is not closed yet, is taken back. waits: another worker
 * reads it until its sessions are moved here. */
__attribute__((warn_unused_result)) int lb_udp_add(struct lb_udp *udp, uint32_t listener, int fd, int waits);

/* No new clients; closed with the last session of the others: looked at when one has ended. */
void lb_udp_remove(struct lb_udp *udp, uint32_t listener);
void lb_udp_close_when_empty(struct lb_udp *udp, uint32_t listener);

/* Is this listener one of ours? */
int lb_udp_has(const struct lb_udp *udp, uint32_t listener);

/* Send to clients what waits for the end of the turn. */
void lb_udp_flush(struct lb_udp *udp);

#endif
