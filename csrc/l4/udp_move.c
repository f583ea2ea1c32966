#include "udp_move.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "udp_session.h"

enum { MOVES_PER_EVENT = 256 };

/* What is sent of a session. A change of it, or of what it holds, raises LB_LAYOUT: the two workers may be of different versions. */
struct moved {
    uint32_t layout;
    uint32_t size;
    struct lb_udp_session session;
};

union control {
    struct cmsghdr head; /* for its alignment */
    char space[CMSG_SPACE(sizeof(int))];
};

static int watch(struct lb_udp *udp, int fd, uint32_t events, enum lb_tag kind)
{
    return lb_loop_watch(&udp->ctx->loop, fd, events, lb_tag_of(kind, 0, 0)) == 0;
}

static void drop(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* --- to the worker that comes --------------------------------------------------------------------------------------- */

static int send_session(int to, const struct lb_udp_session *session)
{
    struct moved moved;
    memset(&moved, 0, sizeof moved);
    moved.layout = LB_LAYOUT;
    moved.size = sizeof moved;
    moved.session = *session;
    moved.session.timer = (struct lb_timer){0};
    union control control = {{0}};
    struct iovec body = {&moved, sizeof moved};
    struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1};
    if (session->fd >= 0) {
        message.msg_control = &control;
        message.msg_controllen = sizeof control;
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof session->fd);
        memcpy(CMSG_DATA(head), &session->fd, sizeof session->fd);
    }
    return sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static void stop_reading(struct lb_udp *udp)
{
    for (uint32_t i = 0; i < udp->count; i++) {
        struct lb_udp_socket *socket = &udp->at[i];
        if (socket->fd < 0 || socket->closing) /* a listener that was removed: its sessions end here */
            continue;
        lb_loop_unwatch(&udp->ctx->loop, socket->fd);
        socket->closing = socket->moves = 1;
    }
}

void lb_udp_move_to(struct lb_udp *udp, int successor)
{
    drop(&udp->successor);
    udp->successor = successor;
    udp->next_to_move = 0;
    udp->move_until_ms = lb_now_ms(udp->ctx) + LB_MOVE_LIMIT_MS;
    stop_reading(udp);
    if (watch(udp, successor, EPOLLOUT, LB_TAG_SUCCESSOR))
        lb_udp_move_send(udp);
    else
        drop(&udp->successor);
}

void lb_udp_move_send(struct lb_udp *udp)
{
    for (int sent = 0; udp->successor >= 0 && sent < MOVES_PER_EVENT; udp->next_to_move++) {
        if (udp->next_to_move >= udp->sessions.touched) {
            drop(&udp->successor);
            return;
        }
        struct lb_udp_session *session = lb_udp_session_at(udp, udp->next_to_move);
        if (!session->live || !udp->at[session->listener].moves)
            continue;
        int error = send_session(udp->successor, session);
        if (error == -EAGAIN || error == -EINTR)
            return;
        if (error) /* it is gone: the sessions that are left end here */
            drop(&udp->successor);
        else
            lb_udp_session_leave(udp, session);
        sent++;
    }
}

/* --- from the worker before ----------------------------------------------------------------------------------------- */

void lb_udp_move_from(struct lb_udp *udp, int predecessor)
{
    drop(&udp->predecessor);
    udp->predecessor = predecessor;
    udp->move_until_ms = lb_now_ms(udp->ctx) + LB_MOVE_LIMIT_MS;
    if (!watch(udp, predecessor, EPOLLIN, LB_TAG_PREDECESSOR)) {
        drop(&udp->predecessor);
        lb_udp_move_read_all(udp);
    }
}

static int is_sound(const struct lb_udp *udp, const struct moved *moved, ssize_t got)
{
    const struct lb_udp_session *session = &moved->session;
    const struct lb_head *head = udp->ctx->shm.head;
    return got == sizeof *moved && moved->layout == LB_LAYOUT && moved->size == sizeof *moved &&
           lb_udp_has(udp, session->listener) && !udp->at[session->listener].closing && session->pool < head->max_pools &&
           session->tried_count <= LB_MAX_TRIED && (session->backend < head->max_backends || session->backend == LB_NONE);
}

static void take(struct lb_udp *udp, const struct moved *moved, ssize_t got, int fd)
{
    if (is_sound(udp, moved, got) &&
        !lb_udp_session_find(udp, moved->session.listener, &moved->session.client, &moved->session.arrival))
        (void)lb_udp_session_take(udp, &moved->session, fd);
    else if (fd >= 0)
        close(fd);
}

void lb_udp_move_receive(struct lb_udp *udp)
{
    for (int i = 0; i < MOVES_PER_EVENT && udp->predecessor >= 0; i++) {
        struct moved moved;
        union control control;
        int fd = -1;
        struct iovec body = {&moved, sizeof moved};
        struct msghdr message = {.msg_iov = &body, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t got = recvmsg(udp->predecessor, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (got <= 0) { /* all are here, or the other worker is dead */
            drop(&udp->predecessor);
            lb_udp_move_read_all(udp);
            return;
        }
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        if (head && head->cmsg_level == SOL_SOCKET && head->cmsg_type == SCM_RIGHTS && head->cmsg_len == CMSG_LEN(sizeof fd))
            memcpy(&fd, CMSG_DATA(head), sizeof fd);
        take(udp, &moved, got, fd);
    }
}

void lb_udp_move_read_all(struct lb_udp *udp)
{
    for (uint32_t i = 0; i < udp->count; i++) {
        if (udp->at[i].fd < 0 || !udp->at[i].waits)
            continue;
        udp->at[i].waits = 0;
        (void)lb_loop_change(&udp->ctx->loop, udp->at[i].fd, EPOLLIN, lb_tag_of(LB_TAG_LISTENER, i, 0));
    }
}

/* --- time ----------------------------------------------------------------------------------------------------------- */

static int is_waiting(const struct lb_udp *udp)
{
    return udp->successor >= 0 || (udp->predecessor >= 0 && udp->move_until_ms);
}

void lb_udp_move_turn(struct lb_udp *udp)
{
    if (!is_waiting(udp) || lb_now_ms(udp->ctx) < udp->move_until_ms)
        return;
    drop(&udp->successor);
    udp->move_until_ms = 0; /* sessions may still come, though nobody waits for them */
    lb_udp_move_read_all(udp);
}

int lb_udp_move_wait(const struct lb_udp *udp)
{
    uint64_t now_ms = lb_now_ms(udp->ctx);
    if (!is_waiting(udp))
        return -1;
    return udp->move_until_ms > now_ms ? (int)(udp->move_until_ms - now_ms) : 0;
}

void lb_udp_move_close(struct lb_udp *udp)
{
    drop(&udp->successor);
    drop(&udp->predecessor);
}
