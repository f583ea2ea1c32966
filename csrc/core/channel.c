#include "channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

static int attached_descriptor(struct msghdr *message)
{
    struct cmsghdr *head = CMSG_FIRSTHDR(message);
    int descriptor = -1;
    if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof descriptor))
        memcpy(&descriptor, CMSG_DATA(head), sizeof descriptor);
    return descriptor;
}

int lb_channel_receive(int channel, struct lb_note *note, int *descriptor)
{
    union {
        struct cmsghdr head; /* for its alignment */
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec body = {note, sizeof *note};
    struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    *descriptor = -1;
    ssize_t got = recvmsg(channel, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -EPIPE;
    if (got == 0)
        return -EPIPE;
    *descriptor = attached_descriptor(&message);
    if ((size_t)got < sizeof *note)
        memset((char *)note + got, 0, sizeof *note - (size_t)got);
    return 1;
}

int lb_channel_send(int channel, enum lb_note_kind kind, uint32_t id, uint64_t value)
{
    struct lb_note note = {.kind = kind, .id = id, .value = value};
    return send(channel, &note, sizeof note, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int lb_channel_send_refusal(int channel, const struct lb_refusal *refusal)
{
    return send(channel, refusal, sizeof *refusal, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int lb_channel_send_descriptor(int channel, enum lb_note_kind kind, uint32_t id, int descriptor)
{
    struct lb_note note = {.kind = kind, .id = id};
    union {
        struct cmsghdr head; /* for its alignment */
        char space[CMSG_SPACE(sizeof(int))];
    } control = {{0}};
    struct iovec body = {&note, sizeof note};
    struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof descriptor);
    memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
    return sendmsg(channel, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}
