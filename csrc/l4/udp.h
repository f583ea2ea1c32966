/* Listeners of mode udp: sessions by client address, each with a connected socket to its backend, so that answers find their way. */
#ifndef LB_UDP_H
#define LB_UDP_H

#include "datagrams.h"
#include "plane.h"

/* A client that sends to a listener, and the backend that has it. Ends when nothing moved for the listener's idle_timeout, or with
 * the last answer where the listener knows how many there are to each datagram. */
struct lb_udp_session {
    struct lb_timer timer; /* first: a timer is its session */
    union lb_address client;
    struct lb_arrival arrival;
    uint64_t key;        /* hash of the client's address, for maglev */
    uint64_t began_us;   /* monotonic: when it was opened */
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t tenant;     /* generation of the backend's row */
    int fd;              /* -1: no backend */
    uint32_t generation; /* in every event: those of an earlier tenant are dropped */
    uint32_t next;       /* with the same hash */
    uint32_t backend;    /* row; charged with it */
    uint32_t decision;
    uint32_t moved_ms; /* monotonic, low 32 bits: when a datagram last moved */
    uint32_t asked_us; /* likewise: when the client asked what is not answered yet */
    uint32_t first_us; /* since it was opened: when the first answer came; LB_NEVER_US: none has */
    uint32_t owed;     /* answers that are still to come, where their number is known */
    uint16_t listener;
    uint16_t pool;
    uint8_t live;
    uint8_t asked;
    uint8_t answered; /* once at least */
    uint8_t tried_count;
    uint32_t tried[LB_MAX_TRIED];
};

struct lb_udp_socket {
    int fd; /* -1: not served */
    uint8_t closing; /* takes no new client; closed with its last session */
    uint32_t sessions;
};

/* One worker's. */
struct lb_udp {
    struct lb_plane *plane;
    struct lb_udp_socket *at; /* by listener row */
    uint32_t count;
    uint32_t open;
    struct lb_slab sessions;
    uint32_t *bucket; /* heads of lists, by hash of listener and client */
    uint32_t mask;
    uint8_t hash_key[16]; /* secret: nobody can choose who shares a list */
    struct lb_wheel wheel;
    struct lb_inbox inbox;
    struct lb_outbox outbox;
};

__attribute__((warn_unused_result)) int lb_udp_open(struct lb_udp *udp, struct lb_plane *plane, uint32_t max_sessions);
void lb_udp_close(struct lb_udp *udp);

/* Serve a socket (owned from now on, also on failure). */
__attribute__((warn_unused_result)) int lb_udp_add(struct lb_udp *udp, uint32_t listener, int fd);

/* No new clients; closed with the last session of the others. */
void lb_udp_remove(struct lb_udp *udp, uint32_t listener);

/* An epoll event: on a listener's socket, if it is one of ours; on a session's. */
int lb_udp_has(const struct lb_udp *udp, uint32_t listener);
void lb_udp_listener_event(struct lb_udp *udp, uint32_t listener);
void lb_udp_event(struct lb_udp *udp, uint32_t index, uint32_t generation, uint32_t events);

/* At the end of a turn: send what waits, see to the time. */
void lb_udp_turn(struct lb_udp *udp);
int lb_udp_wait(const struct lb_udp *udp);

/* End the sessions on removed backends; end all. */
void lb_udp_cut(struct lb_udp *udp);
void lb_udp_stop(struct lb_udp *udp);

#endif
