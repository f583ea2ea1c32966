#include "datagrams.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/mman.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { REPLIES_A_CALL = 4 }; /* places for more would mostly be prepared in vain */

/* --- receiving ------------------------------------------------------------------------------------------------------ */

int lb_inbox_open(struct lb_inbox *inbox)
{
    void *memory = mmap(NULL, (size_t)LB_BATCH * LB_DATAGRAM_BYTES, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return -errno;
    inbox->bytes = memory;
    return 0;
}

void lb_inbox_close(struct lb_inbox *inbox)
{
    if (inbox->bytes)
        (void)munmap(inbox->bytes, (size_t)LB_BATCH * LB_DATAGRAM_BYTES);
    inbox->bytes = NULL;
}

static char *place(const struct lb_inbox *inbox, uint32_t at)
{
    return inbox->bytes + (size_t)at * LB_DATAGRAM_BYTES;
}

/* What a call came to that failed. */
static int none_or_error(void)
{
    return errno == EAGAIN ? 0 : -errno;
}

static int receive(struct lb_inbox *inbox, int fd, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        inbox->part[i] = (struct iovec){place(inbox, i), LB_DATAGRAM_BYTES};
        inbox->head[i].msg_hdr = (struct msghdr){.msg_name = &inbox->peer[i],
                                                 .msg_namelen = sizeof inbox->peer[i],
                                                 .msg_iov = &inbox->part[i],
                                                 .msg_iovlen = 1,
                                                 .msg_control = inbox->control[i],
                                                 .msg_controllen = LB_CONTROL_BYTES};
    }
    int got;
    do
        got = recvmmsg(fd, &inbox->head[first], count, MSG_DONTWAIT, NULL);
    while (got < 0 && errno == EINTR);
    return got < 0 ? none_or_error() : got;
}

int lb_inbox_receive(struct lb_inbox *inbox, int fd, uint32_t most)
{
    return receive(inbox, fd, 0, most < LB_BATCH ? most : LB_BATCH);
}

static void note_control(const struct cmsghdr *item, struct lb_datagram *datagram, struct lb_arrival *arrival)
{
    if (item->cmsg_level == IPPROTO_UDP && item->cmsg_type == UDP_GRO) {
        int size;
        memcpy(&size, CMSG_DATA(item), sizeof size);
        datagram->segment = size > 0 && (uint32_t)size < datagram->count ? (uint32_t)size : 0;
    } else if (arrival && item->cmsg_level == IPPROTO_IP && item->cmsg_type == IP_PKTINFO) {
        struct in_pktinfo info;
        memcpy(&info, CMSG_DATA(item), sizeof info);
        memcpy(&arrival->ip, &info.ipi_spec_dst, sizeof info.ipi_spec_dst);
        arrival->interface = (uint32_t)info.ipi_ifindex;
    } else if (arrival && item->cmsg_level == IPPROTO_IPV6 && item->cmsg_type == IPV6_PKTINFO) {
        struct in6_pktinfo info;
        memcpy(&info, CMSG_DATA(item), sizeof info);
        arrival->ip = info.ipi6_addr;
        arrival->interface = (uint32_t)info.ipi6_ifindex;
    }
}

struct lb_datagram lb_inbox_at(struct lb_inbox *inbox, uint32_t at, struct lb_arrival *arrival)
{
    struct msghdr *head = &inbox->head[at].msg_hdr;
    struct lb_datagram datagram = {place(inbox, at), inbox->head[at].msg_len, 0};
    if (arrival)
        *arrival = (struct lb_arrival){0};
    if (head->msg_controllen)
        for (struct cmsghdr *item = CMSG_FIRSTHDR(head); item; item = CMSG_NXTHDR(head, item))
            note_control(item, &datagram, arrival);
    return datagram;
}

/* --- sending -------------------------------------------------------------------------------------------------------- */

static struct cmsghdr *add_control(struct msghdr *head, int level, int type, const void *value, size_t size)
{
    struct cmsghdr *item = (struct cmsghdr *)(void *)((char *)head->msg_control + head->msg_controllen);
    item->cmsg_level = level;
    item->cmsg_type = type;
    item->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(item), value, size);
    head->msg_controllen += CMSG_SPACE(size);
    return item;
}

static void add_segment(struct msghdr *head, uint32_t segment)
{
    uint16_t size = (uint16_t)segment;
    (void)add_control(head, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size);
}

static int send_message(int fd, const struct msghdr *head)
{
    ssize_t sent;
    do
        sent = sendmsg(fd, head, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent < 0 ? -errno : 0;
}

/* Does it mean that the kernel, or the way there, cannot cut this train? */
static int is_uncut(int error)
{
    return error == -EINVAL || error == -EIO || error == -EMSGSIZE || error == -EOPNOTSUPP;
}

/* A train car by car: the last error, or 0 when at least one went. *lost counts the others. */
static int send_parts(int fd, struct msghdr *head, const struct lb_datagram *train, uint32_t *lost)
{
    int last = 0, went = 0;
    for (uint32_t at = 0; at < train->count; at += train->segment) {
        uint32_t left = train->count - at;
        struct iovec part = {train->bytes + at, left < train->segment ? left : train->segment};
        head->msg_iov = &part;
        int error = send_message(fd, head);
        if (error) {
            last = error;
            ++*lost;
        } else {
            went = 1;
        }
    }
    head->msg_iov = NULL;
    return went ? 0 : last;
}

int lb_datagram_send(int fd, const struct lb_datagram *datagram)
{
    _Alignas(struct cmsghdr) char control[LB_CONTROL_BYTES] = {0};
    struct iovec part = {datagram->bytes, datagram->count};
    struct msghdr head = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = control};
    uint32_t lost = 0;
    if (!datagram->segment) {
        ssize_t sent;
        do
            sent = send(fd, datagram->bytes, datagram->count, MSG_DONTWAIT | MSG_NOSIGNAL);
        while (sent < 0 && errno == EINTR);
        return sent < 0 ? -errno : 0;
    }
    add_segment(&head, datagram->segment);
    int error = send_message(fd, &head);
    if (!is_uncut(error))
        return error;
    head.msg_controllen = 0;
    return send_parts(fd, &head, datagram, &lost);
}

int lb_outbox_receive_one(struct lb_outbox *outbox, int from, int fd)
{
    struct mmsghdr *head = &outbox->room.head[outbox->used];
    outbox->fd = fd;
    ssize_t got;
    do
        got = recv(from, place(&outbox->room, outbox->used), LB_DATAGRAM_BYTES, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return none_or_error();
    head->msg_len = (unsigned)got;
    head->msg_hdr.msg_controllen = 0;
    return 1;
}

int lb_outbox_receive(struct lb_outbox *outbox, int from, int fd)
{
    outbox->fd = fd;
    uint32_t room = LB_BATCH - outbox->used;
    return receive(&outbox->room, from, outbox->used, room < REPLIES_A_CALL ? room : REPLIES_A_CALL);
}

struct lb_datagram lb_outbox_at(const struct lb_outbox *outbox, uint32_t at)
{
    const struct iovec *part = &outbox->part[at];
    return (struct lb_datagram){part->iov_base, (uint32_t)part->iov_len, outbox->segment[at]};
}

static void add_arrival(struct msghdr *head, int family, const struct lb_arrival *arrival)
{
    if (family == AF_INET6) {
        struct in6_pktinfo info = {.ipi6_addr = arrival->ip}; /* no interface: the routes choose it, as for any response, */
        if (IN6_IS_ADDR_LINKLOCAL(&arrival->ip))              /* but where an address means nothing without */
            info.ipi6_ifindex = arrival->interface;
        (void)add_control(head, IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
        return;
    }
    struct in_pktinfo info = {0};
    memcpy(&info.ipi_spec_dst, &arrival->ip, sizeof info.ipi_spec_dst);
    (void)add_control(head, IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
}

void lb_outbox_address(struct lb_outbox *outbox, uint32_t first, const union lb_address *to, const struct lb_arrival *arrival)
{
    for (uint32_t i = first; i < outbox->used; i++) {
        struct lb_datagram datagram = lb_inbox_at(&outbox->room, i, NULL);
        struct msghdr *head = &outbox->head[i].msg_hdr;
        outbox->to[i] = *to;
        outbox->segment[i] = datagram.segment;
        outbox->part[i] = (struct iovec){datagram.bytes, datagram.count};
        *head = (struct msghdr){.msg_name = &outbox->to[i],
                                .msg_namelen = to->any.sa_family == AF_INET6 ? sizeof to->v6 : sizeof to->v4,
                                .msg_iov = &outbox->part[i],
                                .msg_iovlen = 1,
                                .msg_control = outbox->control[i]};
        if (arrival->interface)
            add_arrival(head, to->any.sa_family, arrival);
        if (datagram.segment)
            add_segment(head, datagram.segment);
        if (!head->msg_controllen)
            head->msg_control = NULL;
    }
}

/* The one that the kernel refused: a train goes car by car, anything else is lost. */
static uint32_t send_refused(struct lb_outbox *outbox, uint32_t at, int error)
{
    struct lb_datagram train = lb_outbox_at(outbox, at);
    struct msghdr *head = &outbox->head[at].msg_hdr;
    uint32_t lost = 0;
    if (!train.segment || !is_uncut(error))
        return lb_datagram_parts(&train);
    head->msg_controllen -= CMSG_SPACE(sizeof(uint16_t)); /* the segment's size was added last */
    (void)send_parts(outbox->fd, head, &train, &lost);
    return lost;
}

uint32_t lb_outbox_flush(struct lb_outbox *outbox)
{
    uint32_t at = 0, lost = 0;
    while (at < outbox->used) {
        int sent = sendmmsg(outbox->fd, &outbox->head[at], outbox->used - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent > 0)
            at += (uint32_t)sent;
        else if (errno != EINTR)
            lost += send_refused(outbox, at++, -errno);
    }
    outbox->used = 0;
    return lost;
}

/* --- options -------------------------------------------------------------------------------------------------------- */

void lb_datagram_prepare(int fd, int family, int wild)
{
    const int on = 1;
    (void)setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on); /* an older kernel just does not join */
    if (wild && family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof on);
    else if (wild)
        (void)setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
}
