/* One connection that a loop serves, and its peer, moved a step a line: tests/engine/test_ring_model.py asks, and knows what may be said.
 *
 *     new LOOP TIGHT    LOOP: ring or epoll; TIGHT: 1: small buffers in the kernel
 *     put N, take N, fin, rst        the peer sends, receives, ends, resets
 *     read N, peek N, splice N, write A B, finish, close, reset        we do, by the calls of core/io.h
 *     wait MS, settle, held
 *
 * A number is how many bytes moved; else it is again, end, or fail. Each byte says its place, both ways: one that is elsewhere ends this. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/io.h"
#include "core/loop.h"
#include "core/net.h"

#include "check.h"

enum { TAG = 70, ROOM = 8, MOST = 1 << 17, TIGHT_BYTES = 16384 };
enum { NOT = -2 };

static struct lb_loop loop;
static int ours = NOT, peer = NOT, in_pipe[2] = {NOT, NOT};
static size_t put_at, read_at, write_at, take_at; /* places in the two streams */
static char bytes[MOST];

static char byte_at(size_t place)
{
    return (char)(place * 31 + (place >> 8) * 7 + (place >> 16));
}

static void fill(size_t count, size_t place)
{
    for (size_t i = 0; i < count; i++)
        bytes[i] = byte_at(place + i);
}

static void compare(ssize_t count, size_t place)
{
    for (ssize_t i = 0; i < count; i++)
        CHECK(bytes[i] == byte_at(place + (size_t)i));
}

static void say(ssize_t result)
{
    if (result > 0)
        printf("%zd\n", result);
    else
        puts(result == 0 ? "end" : errno == EAGAIN ? "again" : "fail");
}

/* --- a connection ----------------------------------------------------------------------------------------------------- */

static void hurry(int fd)
{
    int on = 1;
    CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) == 0);
}

static void shrink(int fd)
{
    int size = TIGHT_BYTES;
    CHECK(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size) == 0);
    CHECK(setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0);
}

static void meet(int tight)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t length = sizeof at;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    peer = socket(AF_INET, SOCK_STREAM, 0);
    if (tight) {
        shrink(listener);
        shrink(peer);
    }
    CHECK(bind(listener, (struct sockaddr *)&at, sizeof at) == 0 && listen(listener, 1) == 0);
    CHECK(getsockname(listener, (struct sockaddr *)&at, &length) == 0);
    CHECK(connect(peer, (struct sockaddr *)&at, sizeof at) == 0);
    ours = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    CHECK(ours >= 0 && close(listener) == 0);
    hurry(ours);
    hurry(peer);
    CHECK(pipe2(in_pipe, O_NONBLOCK) == 0);
    CHECK(lb_loop_attach(&loop, ours, TAG, LB_ATTACH_FRESH) == 0);
    put_at = read_at = write_at = take_at = 0;
}

static void part(void)
{
    if (ours >= 0)
        lb_close(ours, 0);
    if (peer >= 0)
        close(peer);
    if (in_pipe[0] >= 0) {
        close(in_pipe[0]);
        close(in_pipe[1]);
    }
    ours = peer = in_pipe[0] = NOT;
}

/* All that the ring had is back. */
static void end_loop(void)
{
    struct lb_uring *uring = loop.uring;
    struct epoll_event events[ROOM];
    for (int i = 0; i < 3; i++)
        CHECK(lb_loop_wait(&loop, events, ROOM, 0) >= 0);
    if (uring) {
        CHECK(uring->buffers.given + uring->buffers.free_count == LB_RING_BUFFERS);
        CHECK(lb_loop_has_sent_all(&loop) && uring->sends.quick_count == 0);
    }
    lb_loop_close(&loop);
    lb_uring_close(uring);
}

static void renew(const char *kind, int tight)
{
    struct lb_uring *uring = NULL;
    if (peer != NOT || ours != NOT) {
        part();
        end_loop();
    }
    if (strcmp(kind, "ring") == 0)
        CHECK(lb_uring_open(&uring) == 0);
    CHECK(lb_loop_open(&loop, uring) == 0);
    meet(tight);
    puts("ok");
}

/* --- steps ------------------------------------------------------------------------------------------------------------ */

static ssize_t keep(ssize_t result, size_t *place)
{
    if (result > 0)
        *place += (size_t)result;
    return result;
}

static ssize_t put(size_t count)
{
    fill(count, put_at);
    return keep(send(peer, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL), &put_at);
}

static ssize_t take(size_t count)
{
    ssize_t got = recv(peer, bytes, count, MSG_DONTWAIT);
    compare(got, take_at);
    return keep(got, &take_at);
}

static ssize_t read_ours(size_t count)
{
    ssize_t got = lb_recv(ours, bytes, count);
    compare(got, read_at);
    return keep(got, &read_at);
}

static ssize_t peek(size_t count)
{
    ssize_t got = lb_peek(ours, bytes, count);
    compare(got, read_at);
    return got;
}

/* As l4/lane.h does: what is read ahead is read first. */
static ssize_t splice_ours(size_t count)
{
    if (lb_has_read_ahead(ours))
        return read_ours(count);
    ssize_t moved = lb_splice(ours, in_pipe[1], count);
    if (moved <= 0)
        return moved;
    CHECK(read(in_pipe[0], bytes, sizeof bytes) == moved);
    compare(moved, read_at);
    return keep(moved, &read_at);
}

static ssize_t write_ours(size_t first, size_t second)
{
    fill(first + second, write_at);
    struct iovec parts[2] = {{bytes, first}, {bytes + first, second}};
    return keep(lb_send_parts(ours, parts, 2), &write_at);
}

static void wait_for_events(int timeout_ms)
{
    struct epoll_event events[ROOM];
    uint32_t told = 0;
    int count = lb_loop_wait(&loop, events, ROOM, timeout_ms);
    CHECK(count >= 0);
    for (int i = 0; i < count; i++) {
        CHECK(events[i].data.u64 == TAG);
        told |= events[i].events;
    }
    printf("%u\n", told);
}

static unsigned held(void)
{
    const struct lb_ring_socket *served = ours >= 0 ? lb_ring_socket_of(ours) : NULL;
    unsigned count = 0;
    for (uint16_t id = served ? served->first : LB_RING_NO_BUFFER; id != LB_RING_NO_BUFFER;
         id = loop.uring->buffers.filled[id].next)
        count++;
    return count;
}

static void end_ours(int reset)
{
    if (reset)
        lb_net_reset(ours);
    else
        lb_close(ours, 0);
    ours = NOT;
    puts("ok");
}

static void end_peer(int reset)
{
    if (reset) {
        lb_net_reset(peer);
        peer = NOT;
    } else {
        CHECK(shutdown(peer, SHUT_WR) == 0 || errno == ENOTCONN);
    }
    puts("ok");
}

static void obey(const char *word, const char *kind, size_t a, size_t b)
{
    CHECK(a + b <= MOST);
    if (strcmp(word, "new") == 0)
        renew(kind, (int)b);
    else if (strcmp(word, "put") == 0)
        say(put(a));
    else if (strcmp(word, "take") == 0)
        say(take(a));
    else if (strcmp(word, "fin") == 0 || strcmp(word, "rst") == 0)
        end_peer(word[0] == 'r');
    else if (strcmp(word, "read") == 0)
        say(read_ours(a));
    else if (strcmp(word, "peek") == 0)
        say(peek(a));
    else if (strcmp(word, "splice") == 0)
        say(splice_ours(a));
    else if (strcmp(word, "write") == 0)
        say(write_ours(a, b));
    else if (strcmp(word, "finish") == 0)
        lb_finish(ours), puts("ok");
    else if (strcmp(word, "close") == 0 || strcmp(word, "reset") == 0)
        end_ours(word[0] == 'r');
    else if (strcmp(word, "wait") == 0)
        wait_for_events((int)a);
    else if (strcmp(word, "settle") == 0)
        lb_loop_settle(&loop), puts("ok");
    else if (strcmp(word, "held") == 0)
        printf("%u\n", held());
    else
        CHECK(!"a word that is known");
}

int main(void)
{
    char line[128], word[16], kind[32];
    while (fgets(line, sizeof line, stdin)) {
        unsigned long b = 0;
        CHECK(sscanf(line, "%15s %31s %lu", word, kind, &b) >= 1);
        obey(word, kind, strtoul(kind, NULL, 10), b);
        CHECK(fflush(stdout) == 0);
    }
    if (peer != NOT || ours != NOT) {
        part();
        end_loop();
    }
    return 0;
}
