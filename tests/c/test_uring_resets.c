/* A reset of a socket that a ring serves is told once to each who asks: a read, a splice, a send, and behind what came before. */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/net.h"

#include "served_socket.h"

static void a_reset_reaches_the_peer_though_a_receive_is_under_way(void)
{
    char got[8];
    int ours, peer;
    begin();
    meet(&ours, &peer);
    (void)told(0);
    lb_net_reset(ours);
    (void)told(0);
    CHECK(recv(peer, got, sizeof got, MSG_DONTWAIT) == -1 && errno == ECONNRESET);
    close(peer);
    end();
}

static void a_peers_reset_is_told_behind_what_came_before(void)
{
    char got[8];
    int ours, peer;
    begin();
    meet(&ours, &peer);
    CHECK(send(peer, "x", 1, 0) == 1);
    told_of(EPOLLIN);
    lb_net_reset(peer);
    CHECK(told_of(EPOLLERR) & EPOLLHUP);
    CHECK(lb_recv(ours, got, sizeof got) == 1);
    CHECK(lb_recv(ours, got, sizeof got) == -1 && errno == ECONNRESET);
    CHECK(lb_send(ours, "y", 1) == -1);
    lb_close(ours, 0);
    end();
}

static void a_reset_behind_an_end_is_told(void)
{
    char got[8];
    int ours, peer;
    begin();
    meet(&ours, &peer);
    CHECK(shutdown(peer, SHUT_WR) == 0);
    told_of(EPOLLRDHUP);
    CHECK(lb_recv(ours, got, sizeof got) == 0);
    (void)told(0);
    lb_net_reset(peer);
    told_of(EPOLLERR | EPOLLHUP);
    lb_close(ours, 0);
    end();
}

/* The receive of the ring has heard of it; the kernel then tells a splice of a mere end. */
static void a_reset_is_told_to_a_splice(void)
{
    int ours, peer, through[2];
    char got[8];
    begin();
    meet(&ours, &peer);
    CHECK(pipe2(through, O_NONBLOCK) == 0 && send(peer, "x", 1, 0) == 1);
    told_of(EPOLLIN);
    lb_net_reset(peer);
    told_of(EPOLLERR);
    CHECK(lb_recv(ours, got, sizeof got) == 1);
    CHECK(lb_splice(ours, through[1], 64) == -1 && errno == ECONNRESET);
    lb_close(ours, 0);
    CHECK(close(through[0]) == 0 && close(through[1]) == 0);
    end();
}

static void a_reset_that_a_send_met_is_told_to_a_splice(void)
{
    int ours, peer, through[2];
    begin();
    meet(&ours, &peer);
    CHECK(pipe2(through, O_NONBLOCK) == 0);
    CHECK(lb_splice(ours, through[1], 64) == -1 && errno == EAGAIN); /* it leaves the ring */
    for (int i = 0; i < 20 && lb_ring_socket_of(ours)->mode != LB_RING_DIRECT; i++)
        (void)told(PATIENCE_MS / 20);
    lb_net_reset(peer);
    CHECK(lb_send(ours, "y", 1) == -1 && errno == ECONNRESET);
    CHECK(lb_splice(ours, through[1], 64) == -1 && errno == ECONNRESET);
    lb_close(ours, 0);
    CHECK(close(through[0]) == 0 && close(through[1]) == 0);
    end();
}

int main(void)
{
    if (has_no_ring())
        return 0;
    RUN(a_reset_reaches_the_peer_though_a_receive_is_under_way);
    RUN(a_peers_reset_is_told_behind_what_came_before);
    RUN(a_reset_behind_an_end_is_told);
    RUN(a_reset_is_told_to_a_splice);
    RUN(a_reset_that_a_send_met_is_told_to_a_splice);
    return 0;
}
