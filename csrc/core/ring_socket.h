/* Sockets that a ring serves. What the kernel has received for one waits in its inbox, what it sends is a copy: so reading and writing
 * behave as recv and send do. The table is the process's, by descriptor, as descriptors are; an entry is the thread's that has the socket. */
#ifndef LB_RING_SOCKET_H
#define LB_RING_SOCKET_H

#include <stddef.h>
#include <stdint.h>

struct lb_uring;

/* CONNECTING -> RINGED -> LEAVING -> DIRECT -> RINGED again, when it has been calm for a while. */
enum lb_ring_mode {
    LB_RING_CONNECTING, /* the ring asks whether it is connected */
    LB_RING_RINGED,     /* the ring receives into the inbox */
    LB_RING_LEAVING,    /* that is being cancelled */
    LB_RING_DIRECT,     /* watched by epoll; once the inbox is empty it is read by calls */
};

enum { LB_RING_CALM = 32 /* reads by calls in a row that brought little: the ring pays (again) */ };

struct lb_ring_socket {
    struct lb_uring *uring; /* that serves it; NULL: none */
    uint64_t tag;           /* of its events */
    uint32_t generation;    /* of the descriptor's tenants: what is told of an earlier one is dropped */
    uint16_t first;         /* inbox: the buffers with bytes that nobody has read, ... */
    uint16_t last;
    uint16_t start;      /* ... of the first of which so many are read */
    uint16_t send;       /* under way: its place (ring_sends.h); LB_RING_NO_SEND: none */
    uint16_t event;      /* 1 + where the list of events has its event, if that is its own */
    uint8_t mode;        /* enum lb_ring_mode */
    uint8_t held;        /* buffers in the inbox, counted up to 255 */
    uint8_t calm;        /* reads by calls in a row that brought little; of the ring's: that brought a whole buffer */
    uint8_t error;       /* errno that a receive came to, told behind the inbox; 0: none */
    uint8_t deaf;        /* errno that a send came to, told by the next; 0: none */
    uint8_t ended : 1;   /* its FIN has come */
    uint8_t waits : 1;   /* a send was refused: tell when there is room */
    uint8_t fin : 1;     /* nothing more is sent behind the send under way */
    uint8_t watched : 1; /* epoll has it */
    uint8_t full : 1;    /* the last send by a call found no room: an edge of epoll is waited for */
};

_Static_assert(sizeof(struct lb_ring_socket) == 40, "an idle connection is small");

struct lb_ring_sockets {
    struct lb_ring_socket *at; /* by descriptor; NULL: no ring was opened in this process yet */
    unsigned count;
    unsigned used; /* below it lie all that were ever served */
};

extern struct lb_ring_sockets lb_ring_sockets;

/* Make the table, once in a process: 0 or -ENOMEM. */
__attribute__((warn_unused_result)) int lb_ring_sockets_open(void);

/* In a forked child: the first descriptor from this one on that a ring of the parent's serves, or that is such a ring; -1: none is left. The
 * entry is empty from now on, and the descriptor the caller's to close. */
int lb_ring_sockets_inherited(int fd);

/* The entry of a descriptor, from now on in use. */
static inline struct lb_ring_socket *lb_ring_socket_use(int fd)
{
    if ((unsigned)fd >= __atomic_load_n(&lb_ring_sockets.used, __ATOMIC_RELAXED))
        __atomic_store_n(&lb_ring_sockets.used, (unsigned)fd + 1, __ATOMIC_RELAXED);
    return &lb_ring_sockets.at[fd];
}

/* The entry of a descriptor that a ring serves; NULL: none does. */
static inline struct lb_ring_socket *lb_ring_socket_of(int fd)
{
    if (!lb_ring_sockets.at || (unsigned)fd >= lb_ring_sockets.count)
        return NULL;
    struct lb_ring_socket *socket = &lb_ring_sockets.at[fd];
    return socket->uring ? socket : NULL;
}

/* Its descriptor. */
static inline int lb_ring_socket_fd(const struct lb_ring_socket *socket)
{
    return (int)(socket - lb_ring_sockets.at);
}

#endif
