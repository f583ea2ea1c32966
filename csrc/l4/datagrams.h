/* Datagrams in batches: many a call (recvmmsg, sendmmsg), and trains of equal ones as one where the kernel joins and cuts them itself
 * (UDP_GRO, UDP_SEGMENT; udp(7)). */
#ifndef LB_DATAGRAMS_H
#define LB_DATAGRAMS_H

#include <stdint.h>
#include <sys/socket.h>

#include "../core/net.h"

enum {
    LB_BATCH = 32,
    LB_DATAGRAM_BYTES = 65536, /* the longest, or a whole train */
    LB_CONTROL_BYTES = 96,
};

/* To which of this host's addresses a datagram came; interface 0: not known, and not needed. */
struct lb_arrival {
    struct in6_addr ip; /* or IPv4 in its first four bytes */
    uint32_t interface;
};

/* One of a batch. */
struct lb_datagram {
    char *bytes;
    uint32_t count;
    uint32_t segment; /* a train: of datagrams of this size, the last may be shorter; 0: one datagram */
};

/* How many datagrams that is. */
static inline uint32_t lb_datagram_parts(const struct lb_datagram *datagram)
{
    return datagram->segment ? (datagram->count + datagram->segment - 1) / datagram->segment : 1;
}

/* What was received by one call. The bytes stay until the next. */
struct lb_inbox {
    char *bytes; /* LB_BATCH * LB_DATAGRAM_BYTES; NULL until it is opened */
    struct mmsghdr head[LB_BATCH];
    struct iovec part[LB_BATCH];
    union lb_address peer[LB_BATCH];
    _Alignas(struct cmsghdr) char control[LB_BATCH][LB_CONTROL_BYTES];
};

__attribute__((warn_unused_result)) int lb_inbox_open(struct lb_inbox *inbox);
void lb_inbox_close(struct lb_inbox *inbox);

/* How many came, at most `most` of them: 0 when none is there, or -errno. */
int lb_inbox_receive(struct lb_inbox *inbox, int fd, uint32_t most);
struct lb_datagram lb_inbox_at(struct lb_inbox *inbox, uint32_t at, struct lb_arrival *arrival);

/* Replies that wait to be sent, all by one socket, in order. */
struct lb_outbox {
    struct lb_inbox room; /* received straight into the places from which they are sent */
    struct mmsghdr head[LB_BATCH];
    struct iovec part[LB_BATCH];
    union lb_address to[LB_BATCH];
    uint32_t segment[LB_BATCH];
    _Alignas(struct cmsghdr) char control[LB_BATCH][LB_CONTROL_BYTES];
    uint32_t used;
    int fd;
};

/* Receive from a backend what its client is to get by `fd`, at most as much as has room: how many places it took; 0, or -errno. The
 * caller flushes when the box is full, or holds what another socket sends. One: a single datagram, by the cheapest call; not where
 * the socket was prepared, since that call does not tell a train. */
int lb_outbox_receive(struct lb_outbox *outbox, int from, int fd);
int lb_outbox_receive_one(struct lb_outbox *outbox, int from, int fd);

/* Address the places from `first` on. arrival: where the client's own datagrams came to. */
void lb_outbox_address(struct lb_outbox *outbox, uint32_t first, const union lb_address *to, const struct lb_arrival *arrival);

/* What waits in a place that was addressed. */
struct lb_datagram lb_outbox_at(const struct lb_outbox *outbox, uint32_t at);

/* Send all: how many datagrams could not be sent. */
uint32_t lb_outbox_flush(struct lb_outbox *outbox);

/* Send over a connected socket: 0, or -errno with nothing sent. */
int lb_datagram_send(int fd, const struct lb_datagram *datagram);

/* Options of a socket that datagrams are received by. wild: it is bound to no address of its own, and each says where it came to. */
void lb_datagram_prepare(int fd, int family, int wild);

#endif
