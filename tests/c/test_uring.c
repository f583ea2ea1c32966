/* Sockets that a ring serves behave as sockets do: bytes, ends, readers that do not read, peers that do not take. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/net.h"

#include "served_socket.h"

static void messages_go_both_ways(void)
{
    char got[64];
    int ours, peer;
    begin();
    meet(&ours, &peer);
    for (int i = 0; i < 1000; i++) { /* more often than there are buffers */
        CHECK(send(peer, "hello", 5, 0) == 5);
        told_of(EPOLLIN);
        CHECK(lb_recv(ours, got, 2) == 2 && lb_peek(ours, got, sizeof got) == 3 && memcmp(got, "llo", 3) == 0);
        CHECK(lb_recv(ours, got, sizeof got) == 3);
        CHECK(lb_recv(ours, got, sizeof got) == -1 && errno == EAGAIN);
        CHECK(lb_send(ours, "wor", 3) == 3 && lb_send(ours, "ld", 2) == 2);
        CHECK(recv(peer, got, sizeof got, MSG_DONTWAIT) == -1 && errno == EAGAIN); /* it goes with the next wait */
        (void)told(0);
        CHECK(recv(peer, got, sizeof got, MSG_DONTWAIT) == 5 && memcmp(got, "world", 5) == 0);
    }
    lb_close(ours, 0);
    (void)told(0);
    CHECK(recv(peer, got, sizeof got, MSG_DONTWAIT) == 0);
    close(peer);
    end();
}

static void an_end_follows_what_was_sent(void)
{
    char got[64];
    int ours, peer;
    begin();
    meet(&ours, &peer);
    CHECK(lb_send(ours, "last", 4) == 4);
    lb_finish(ours);
    (void)told(0);
    (void)told(0);
    CHECK(recv(peer, got, sizeof got, MSG_DONTWAIT) == 4);
    CHECK(recv(peer, got, sizeof got, MSG_DONTWAIT) == 0);
    CHECK(send(peer, "more", 4, 0) == 4 && shutdown(peer, SHUT_WR) == 0);
    told_of(EPOLLRDHUP);
    CHECK(lb_recv(ours, got, sizeof got) == 4 && lb_recv(ours, got, sizeof got) == 0);
    lb_close(ours, 0);
    close(peer);
    end();
}

static void what_was_sent_goes_out_before_a_close(void)
{
    char got[64];
    int ours, peer;
    begin();
    meet(&ours, &peer);
    CHECK(lb_send(ours, "bye", 3) == 3);
    lb_close(ours, 0);
    CHECK(lb_ring_socket_of(ours) == NULL);
    (void)told(0);
    CHECK(recv(peer, got, sizeof got, MSG_DONTWAIT) == 3);
    CHECK(recv(peer, got, sizeof got, MSG_DONTWAIT) == 0);
    CHECK(fcntl(ours, F_GETFD) == -1 && errno == EBADF);
    close(peer);
    end();
}

/* Bytes that know their place. */
static void fill(char *bytes, size_t count, size_t from)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = (char)((from + i) * 31 >> 3);
}

static void a_stream_leaves_the_ring_in_order_and_comes_back(void)
{
    static char sent[65536], got[65536], expected[65536];
    enum { TOTAL = 8 << 20 };
    size_t out = 0, in = 0;
    int ours, peer;
    begin();
    meet(&ours, &peer);
    while (in < TOTAL) {
        size_t part = out < TOTAL ? (TOTAL - out < sizeof sent ? TOTAL - out : sizeof sent) : 0;
        fill(sent, part, out);
        ssize_t took = part ? send(peer, sent, part, MSG_DONTWAIT) : 0;
        out += took > 0 ? (size_t)took : 0;
        (void)told(1);
        ssize_t came = lb_recv(ours, got, out % 7 ? sizeof got : 1000);
        CHECK(came > 0 || (came < 0 && errno == EAGAIN));
        if (came > 0) {
            fill(expected, (size_t)came, in);
            CHECK(memcmp(got, expected, (size_t)came) == 0);
            in += (size_t)came;
        }
    }
    CHECK(lb_ring_socket_of(ours)->mode == LB_RING_DIRECT);
    for (int i = 0; i < 100; i++) {
        CHECK(send(peer, "calm", 4, 0) == 4);
        told_of(EPOLLIN);
        CHECK(lb_recv(ours, got, sizeof got) == 4 && memcmp(got, "calm", 4) == 0);
    }
    CHECK(lb_ring_socket_of(ours)->mode == LB_RING_RINGED);
    lb_close(ours, 0);
    close(peer);
    end();
}

static void who_does_not_read_holds_few_buffers(void)
{
    static char bytes[65536];
    int ours, peer;
    begin();
    meet(&ours, &peer);
    for (int i = 0; i < 50; i++) { /* no burst: each is a word of its own */
        CHECK(send(peer, bytes, 100, 0) == 100);
        (void)told(1);
        CHECK(buffers_out() <= 4);
    }
    for (int i = 0; i < 200; i++) {
        (void)!send(peer, bytes, sizeof bytes, MSG_DONTWAIT);
        (void)told(0);
        CHECK(buffers_out() <= 36); /* what one wake-up brought before the receive was cancelled */
    }
    lb_close(ours, 0);
    close(peer);
    end();
}

static void a_peer_that_does_not_take_is_told_of_when_it_does(void)
{
    static char bytes[65536];
    size_t out = 0, in = 0;
    int ours, peer;
    begin();
    meet(&ours, &peer);
    for (int refused = 0; refused < 3;) {
        ssize_t took = lb_send(ours, bytes, refused % 2 ? 100 : 4000);
        CHECK(took > 0 || errno == EAGAIN);
        refused += took <= 0;
        out += took > 0 ? (size_t)took : 0;
        (void)told(0);
    }
    for (uint32_t what = 0; !(what & EPOLLOUT);) {
        ssize_t came = recv(peer, bytes, sizeof bytes, MSG_DONTWAIT);
        in += came > 0 ? (size_t)came : 0;
        what = told(10);
        CHECK(in < out + sizeof bytes);
    }
    CHECK(lb_send(ours, "on", 2) == 2);
    lb_close(ours, 0);
    (void)told(0);
    for (ssize_t came; (came = recv(peer, bytes, sizeof bytes, 0)) > 0;)
        in += (size_t)came;
    CHECK(in == out + 2);
    close(peer);
    end();
}

static void a_wait_ends_when_there_is_room_again(void)
{
    static char bytes[8192];
    int ours, peer;
    begin();
    meet(&ours, &peer);
    CHECK(lb_send(ours, bytes, 4000) == 4000);
    CHECK(lb_send(ours, bytes, 4000) == 96); /* as much as goes with it */
    CHECK(lb_send(ours, bytes, 1) == -1 && errno == EAGAIN);
    told_of(EPOLLOUT);
    CHECK(lb_send(ours, bytes, 10) == 10);
    lb_loop_settle(&loop);
    CHECK(lb_send(ours, bytes, 10) == -1 && errno == EAGAIN); /* whether it is done is not known before the next wait */
    told_of(EPOLLOUT);
    CHECK(lb_send(ours, bytes, 10) == 10);
    lb_loop_settle(&loop);
    lb_finish(ours);
    (void)told(0);
    CHECK(recv(peer, bytes, sizeof bytes, MSG_WAITALL) == 4116); /* and the end */
    lb_close(ours, 0);
    close(peer);
    end();
}

/* Bytes come for more sockets than the kernel has buffers: it gets more, and none leaves the ring. */
static void a_burst_takes_more_buffers(void)
{
    enum { MANY = 150 };
    char got[8];
    int ours[MANY], peer[MANY], told_count = 0;
    begin();
    for (int i = 0; i < MANY; i++)
        meet(&ours[i], &peer[i]);
    for (int i = 0; i < MANY; i++)
        CHECK(send(peer[i], "ask", 3, 0) == 3); /* before any receive is armed: all come in one submission */
    for (int turn = 0; turn < 100 && told_count < MANY; turn++)
        for (int i = told(0) ? 0 : MANY; i < MANY; i++)
            told_count += lb_recv(ours[i], got, sizeof got) == 3;
    CHECK(told_count == MANY);
    for (int i = 0; i < MANY; i++) {
        CHECK(lb_ring_socket_of(ours[i])->mode == LB_RING_RINGED);
        lb_close(ours[i], 0);
        close(peer[i]);
    }
    (void)told(0);
    CHECK(loop.uring->buffers.wanted > 64);
    CHECK(loop.uring->buffers.given + loop.uring->buffers.free_count == LB_RING_BUFFERS);
    end();
}

/* More has happened than the list of a wait has room for. */
static void sends_are_done_though_events_are_left(void)
{
    enum { MANY = 6 };
    char got[8];
    int ours[MANY], peer[MANY];
    begin();
    for (int i = 0; i < MANY; i++)
        meet(&ours[i], &peer[i]);
    (void)told(0);
    for (int i = 0; i < MANY; i++)
        CHECK(send(peer[i], "ask", 3, 0) == 3 && lb_send(ours[i], "one", 3) == 3);
    CHECK(lb_loop_wait(&loop, events, 1, PATIENCE_MS) == 1 && loop.more);
    for (int i = 0; i < MANY; i++)
        CHECK(lb_send(ours[i], "two", 3) == 3);
    lb_net_reset(peer[MANY - 1]); /* the second send to this one fails, and that is told */
    CHECK(lb_loop_wait(&loop, events, 1, PATIENCE_MS) == 1 && loop.more);
    CHECK(lb_send(ours[0], "three", 5) == 5);
    CHECK(lb_send(ours[MANY - 1], "three", 5) == -1 && (errno == ECONNRESET || errno == EPIPE));
    told_of(EPOLLIN);
    (void)told(0);
    CHECK(recv(peer[0], got, sizeof got, MSG_DONTWAIT) == 8 && recv(peer[0], got, sizeof got, MSG_DONTWAIT) == 3);
    for (int i = 0; i < MANY; i++) {
        lb_close(ours[i], 0);
        if (i < MANY - 1)
            close(peer[i]);
    }
    end();
}

static void a_close_loses_nothing_of_a_send_that_found_no_room(void)
{
    static char bytes[65536];
    size_t out = 0, in = 0;
    int ours, peer;
    begin();
    meet(&ours, &peer);
    for (int full = 0; !full;) { /* by calls: it is in the kernel */
        ssize_t took = send(ours, bytes, sizeof bytes, MSG_DONTWAIT);
        full = took <= 0;
        out += took > 0 ? (size_t)took : 0;
    }
    CHECK(lb_send(ours, "last words", 10) == 10);
    lb_loop_settle(&loop); /* it has failed, and nobody has been told */
    lb_close(ours, 0);
    (void)told(0);
    for (ssize_t came; in < out + 10 && (came = recv(peer, bytes, sizeof bytes, 0)) > 0;) {
        in += (size_t)came;
        (void)told(0);
    }
    CHECK(in == out + 10);
    CHECK(recv(peer, bytes, sizeof bytes, 0) == 0);
    close(peer);
    end();
}

static void bytes_that_wait_are_counted(void)
{
    int ours, peer;
    begin();
    meet(&ours, &peer);
    CHECK(lb_waiting(ours, 100) == -1); /* more may be on its way to us */
    CHECK(send(peer, "12345", 5, 0) == 5 && shutdown(peer, SHUT_WR) == 0);
    told_of(EPOLLRDHUP);
    CHECK(lb_waiting(ours, 100) == 5 && lb_waiting(ours, 3) == 3 && lb_has_read_ahead(ours));
    lb_close(ours, 0);
    close(peer);
    end();
}

static void a_ring_opens_no_file(void)
{
    CHECK(lb_uring_try() == 0); /* it tries that, too */
}

int main(void)
{
    if (has_no_ring())
        return 0;
    RUN(a_ring_opens_no_file);
    RUN(messages_go_both_ways);
    RUN(an_end_follows_what_was_sent);
    RUN(what_was_sent_goes_out_before_a_close);
    RUN(a_stream_leaves_the_ring_in_order_and_comes_back);
    RUN(who_does_not_read_holds_few_buffers);
    RUN(a_peer_that_does_not_take_is_told_of_when_it_does);
    RUN(a_wait_ends_when_there_is_room_again);
    RUN(a_burst_takes_more_buffers);
    RUN(sends_are_done_though_events_are_left);
    RUN(a_close_loses_nothing_of_a_send_that_found_no_room);
    RUN(bytes_that_wait_are_counted);
    return 0;
}
