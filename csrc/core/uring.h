/* A ring with what its sockets need: buffers, sends, and the list of events that the wait under way fills. One thread's own. */
#ifndef LB_URING_H
#define LB_URING_H

#include <sys/epoll.h>

#include "ring.h"
#include "ring_buffers.h"
#include "ring_sends.h"
#include "ring_socket.h"

enum { LB_URING_LISTED = 256 };

/* What a completion is of: the low bits of its word. Above them a descriptor or the place of a send, and a generation. */
enum lb_uring_of { LB_OF_NOBODY = 0, LB_OF_POLLER, LB_OF_CONNECT, LB_OF_RECEIVE, LB_OF_SEND };
enum { LB_OF_BITS = 4 };

struct lb_uring_listed {
    int fd;
    uint32_t generation;
};

struct lb_uring {
    struct lb_ring ring;
    struct lb_ring_buffers buffers;
    struct lb_ring_sends sends;
    int poller;                 /* of what epoll watches: the loop's */
    uint8_t poller_asked;       /* the ring tells when the poller has events */
    uint8_t poller_has;         /* ... which it has */
    uint8_t hurries;            /* the next wait is not to wait */
    uint8_t has_more;           /* the last wait has not told all that had happened by then */
    struct epoll_event *events; /* of the wait under way */
    int count;
    int room;
    uint32_t looked;       /* the completion up to which lb_ring_look_for_sends has looked */
    uint32_t listed_count; /* sockets that epoll is to watch, if they are there still when the next wait begins */
    struct lb_uring_listed listed[LB_URING_LISTED];
};

/* A ring for the calling thread, which alone may use it: 0 or -errno (ring.h). */
__attribute__((warn_unused_result)) int lb_uring_open(struct lb_uring **uring);

/* All of it; what is queued is done before. NULL: nothing to do. */
void lb_uring_close(struct lb_uring *uring);

/* An event of a socket: it is one with what the list has of it already. */
void lb_uring_raise(struct lb_uring *uring, struct lb_ring_socket *socket, uint32_t events);

/* Have a send that the kernel has not got yet wait for room, and be told of: did it not get it yet? */
int lb_ring_insist(struct lb_uring *uring, uint16_t send);

static inline uint64_t lb_uring_word(enum lb_uring_of of, uint32_t place, uint32_t generation)
{
    return (uint64_t)generation << 32 | (uint64_t)place << LB_OF_BITS | (uint64_t)of;
}

/* That of a socket's own operation. */
static inline uint64_t lb_uring_word_of(const struct lb_ring_socket *socket, enum lb_uring_of of)
{
    return lb_uring_word(of, (uint32_t)lb_ring_socket_fd(socket), socket->generation);
}

#endif
