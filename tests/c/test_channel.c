#include "core/channel.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "check.h"

static void send_with_descriptor(int channel, int descriptor)
{
    struct lb_note note = {.kind = LB_NOTE_LISTEN, .id = 3};
    char control[CMSG_SPACE(sizeof(int))] = {0};
    struct iovec body = {&note, sizeof note};
    struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(head), &descriptor, sizeof descriptor);
    CHECK(sendmsg(channel, &message, 0) == sizeof note);
}

static void notes_pass_with_and_without_a_descriptor(void)
{
    int pair[2], descriptor;
    struct lb_note note;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    CHECK(lb_channel_receive(pair[1], &note, &descriptor) == 0);
    CHECK(lb_channel_send(pair[0], LB_NOTE_FAILING, 7, 1) == 0);
    CHECK(lb_channel_receive(pair[1], &note, &descriptor) == 1);
    CHECK(note.kind == LB_NOTE_FAILING && note.id == 7 && descriptor == -1);
    send_with_descriptor(pair[0], 0);
    CHECK(lb_channel_receive(pair[1], &note, &descriptor) == 1);
    CHECK(note.kind == LB_NOTE_LISTEN && note.id == 3 && descriptor > 2);
    close(descriptor);
    close(pair[0]);
    CHECK(lb_channel_receive(pair[1], &note, &descriptor) == -EPIPE);
    CHECK(lb_channel_send(pair[1], LB_NOTE_READY, 0, 0) < 0);
    close(pair[1]);
}

static void short_notes_are_filled_with_zeroes(void)
{
    int pair[2], descriptor;
    struct lb_note note;
    uint32_t kind = LB_NOTE_WAKE;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair) == 0);
    CHECK(send(pair[0], &kind, sizeof kind, 0) == sizeof kind);
    memset(&note, 0xff, sizeof note);
    CHECK(lb_channel_receive(pair[1], &note, &descriptor) == 1);
    CHECK(note.kind == LB_NOTE_WAKE && note.id == 0 && note.value == 0);
    close(pair[0]);
    close(pair[1]);
}

int main(void)
{
    RUN(notes_pass_with_and_without_a_descriptor);
    RUN(short_notes_are_filled_with_zeroes);
    return 0;
}
