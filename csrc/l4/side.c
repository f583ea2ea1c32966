#include "side.h"

#include <sys/epoll.h>

#include "../core/net.h"
#include "../core/tcp_state.h"
#include "../tls/stream.h"

void lb_side_note(struct lb_side *side, uint32_t events)
{
    int readable = (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    int hung_up = (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
    int writable = (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0;
    if (side->tls && lb_tls_note(side->tls, readable, writable, hung_up))
        readable = 1;
    side->readable |= (uint8_t)readable;
    side->hung_up |= (uint8_t)hung_up;
    side->writable |= (uint8_t)writable;
}

ssize_t lb_side_recv_tls(struct lb_side *side, void *bytes, size_t count)
{
    int more;
    ssize_t got = lb_tls_recv(side->tls, bytes, count, &more);
    if (more)
        side->hung_up = 1;
    return got;
}

ssize_t lb_side_send_tls(struct lb_side *side, const void *bytes, size_t count)
{
    return lb_tls_send(side->tls, bytes, count);
}

ssize_t lb_side_send_parts(struct lb_side *side, const void *a, size_t a_count, const void *b, size_t b_count)
{
    if (side->tls)
        return lb_tls_send_parts(side->tls, a, a_count, b, b_count);
    if (!b_count)
        return lb_send(side->fd, a, a_count);
    struct iovec parts[2] = {{(void *)(uintptr_t)a, a_count}, {(void *)(uintptr_t)b, b_count}};
    return lb_send_parts(side->fd, parts, 2);
}

ssize_t lb_side_peek(struct lb_side *side, void *bytes, size_t count)
{
    if (!side->tls)
        return lb_peek(side->fd, bytes, count);
    (void)lb_tls_note(side->tls, 1, 0, 0); /* what was seen of the socket may be old */
    return lb_side_recv_tls(side, bytes, count);
}

int lb_side_is_tired(const struct lb_side *side)
{
    return side->tls->tired;
}

int lb_side_is_cut(const struct lb_side *side)
{
    return side->tls && lb_tls_is_cut(side->tls);
}

void lb_side_finish_cut(struct lb_side *side)
{
    if (side->tls)
        lb_tls_say_nothing(side->tls);
    lb_finish(side->fd);
}

int lb_side_finish(struct lb_side *side)
{
    if (side->tls && lb_tls_finish(side->tls) < 0 && errno == EAGAIN)
        return -1;
    lb_finish(side->fd);
    return 0;
}

void lb_side_close(struct lb_side *side, int reset)
{
    if (side->fd < 0)
        return;
    if (side->tls) {
        if (!reset)
            (void)lb_tls_finish(side->tls);
        lb_tls_free(side->tls);
        side->tls = NULL;
    }
    if (side->hurried && !reset)
        lb_tcp_unhurry(side->fd);
    if (reset)
        lb_net_reset(side->fd);
    else
        lb_close(side->fd, 0);
    side->fd = -1;
}
