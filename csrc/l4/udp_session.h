/* The session of a client that sends datagrams: found by its address, opened with a backend, moved to another one, ended. */
#ifndef LB_UDP_SESSION_H
#define LB_UDP_SESSION_H

#include "udp_socket.h"

/* A client that sends to a listener, and the backend that has it. Ends when nothing moved for the listener's idle_timeout, or with
 * the last response where the listener knows how many there are to each datagram. */
struct lb_udp_session {
    struct lb_timer timer; /* first: a timer is its session */
    union lb_address client;
    struct lb_arrival arrival;
    uint64_t key;      /* hash of the client's address, for maglev */
    uint64_t began_us; /* monotonic: when it was opened */
    uint64_t bytes_in;
    uint64_t bytes_out;
    uint64_t tenant;     /* generation of the backend's row */
    int fd;              /* -1: no backend */
    uint32_t generation; /* in every event: those of an earlier tenant are dropped */
    uint32_t next;       /* with the same hash */
    uint32_t backend;    /* row; charged with it */
    uint32_t decision;
    uint32_t moved_ms; /* monotonic, low 32 bits: when a datagram last moved */
    uint32_t asked_us; /* likewise: when the client asked what has no reply yet */
    uint32_t first_us; /* since it was opened: when the first response came; LB_NEVER_US: none has */
    uint32_t owed;     /* replies that are still to come, where their number is known */
    uint32_t counted;  /* as in struct lb_ends */
    uint16_t listener;
    uint16_t pool;
    uint8_t live;
    uint8_t asked;
    uint8_t replied; /* once at least */
    uint8_t many;    /* more responses than questions: its socket gives trains, and several a call */
    uint8_t tried_count;
    uint8_t shortages; /* of tried[]: that this host lacked something for */
    uint32_t tried[LB_MAX_TRIED];
};

static inline struct lb_udp_session *lb_udp_session_at(const struct lb_udp *udp, uint32_t index)
{
    return lb_slab_at(&udp->sessions, index);
}

/* A client that writes to two addresses of this host has two sessions: each is answered from where it asked. NULL: none. */
struct lb_udp_session *lb_udp_session_find(const struct lb_udp *udp, uint32_t listener, const union lb_address *client,
                                           const struct lb_arrival *arrival);

/* A new client's session, with a backend; NULL when it cannot have one. */
struct lb_udp_session *lb_udp_session_open(struct lb_udp *udp, uint32_t listener, const union lb_address *client,
                                           const struct lb_arrival *arrival);

/* Has it a backend that still serves, the one it had or another? If not, it is ended. */
int lb_udp_session_has_backend(struct lb_udp *udp, struct lb_udp_session *session);

/* Give it a backend, or end it. error: what the attempt before came to, 0 at first. Has it one? */
int lb_udp_session_reach(struct lb_udp *udp, struct lb_udp_session *session, int error);

/* From now on its responses are received several a call, and trains whole. */
void lb_udp_session_expect_many(struct lb_udp_session *session);

/* A refusal came by itself: the next datagram goes to another backend, or the session ends. */
void lb_udp_session_refused(struct lb_udp *udp, struct lb_udp_session *session, int error);

/* The one way out, but for lb_udp_session_leave. */
void lb_udp_session_end(struct lb_udp *udp, struct lb_udp_session *session, enum lb_end why);

/* One of another worker's becomes ours: listed, counted and charged, its socket read from now on. fd: its backend's, or -1; ours. */
struct lb_udp_session *lb_udp_session_take(struct lb_udp *udp, const struct lb_udp_session *like, int fd);

/* One of ours has become another worker's: everything is let go, and nothing recorded. */
void lb_udp_session_leave(struct lb_udp *udp, struct lb_udp_session *session);

/* Its timer: a session that was idle for too long ends. */
void lb_udp_session_fire(void *context, struct lb_timer *timer);

#endif
