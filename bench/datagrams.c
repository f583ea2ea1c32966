// Datagrams for the benchmark: a server that sends back what it gets, and clients that each send the next when the answer is there.
//
//     datagrams echo                                  prints its port, on 127.0.0.1
//     datagrams load HOST PORT CLIENTS SIZE SECONDS   prints one line, REPORT {json}, as wrk_report.lua does
//
// A datagram without an answer for RESEND_NS counts as lost, and its client goes on.

#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 64, ROOM = 2048, MAX_CLIENTS = 8192, RESEND_NS = 500000000, LATENCIES = 1 << 22 };

struct client {
    int fd;
    uint64_t asked_ns;
};

static struct client clients[MAX_CLIENTS];
static uint32_t *latencies; // microseconds
static uint64_t answered, lost;
static char payload[ROOM];

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "datagrams: %s: %s\n", what, strerror(errno));
    exit(1);
}

static _Noreturn void echo(void)
{
    static char bytes[BATCH][ROOM];
    static struct mmsghdr heads[BATCH];
    static struct iovec parts[BATCH];
    static struct sockaddr_in peers[BATCH];
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof here;
    int fd = socket(AF_INET, SOCK_DGRAM, 0), room = 4 << 20;
    if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof here) < 0)
        fail("bind");
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    (void)getsockname(fd, (struct sockaddr *)&here, &length);
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);
    for (;;) {
        for (int i = 0; i < BATCH; i++) {
            parts[i] = (struct iovec){bytes[i], ROOM};
            heads[i].msg_hdr =
                (struct msghdr){.msg_name = &peers[i], .msg_namelen = sizeof peers[i], .msg_iov = &parts[i], .msg_iovlen = 1};
        }
        int got = recvmmsg(fd, heads, BATCH, MSG_WAITFORONE, NULL);
        for (int i = 0; i < got; i++)
            parts[i].iov_len = heads[i].msg_len;
        if (got > 0 && sendmmsg(fd, heads, (unsigned)got, 0) < 0)
            fail("sendmmsg");
    }
}

static void ask(struct client *client, size_t size)
{
    client->asked_ns = now_ns();
    if (send(client->fd, payload, size, MSG_DONTWAIT) < 0 && errno != EAGAIN && errno != ECONNREFUSED)
        fail("send");
}

static void hear(struct client *client, size_t size)
{
    char answer[ROOM];
    ssize_t got = recv(client->fd, answer, sizeof answer, MSG_DONTWAIT);
    if (got < 0)
        return;
    uint64_t took_us = (now_ns() - client->asked_ns) / 1000;
    latencies[answered++ % LATENCIES] = (uint32_t)took_us;
    ask(client, size);
}

static int by_size(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

static void report(double seconds, size_t size)
{
    uint64_t known = answered < LATENCIES ? answered : LATENCIES;
    qsort(latencies, known, sizeof *latencies, by_size);
    if (!known)
        latencies[known++] = 0;
    printf("REPORT {\"requests\": %llu, \"bytes\": %llu, \"duration_us\": %.0f, \"lost\": %llu, \"p50_us\": %u, \"p99_us\": %u, "
           "\"p999_us\": %u}\n",
           (unsigned long long)answered, (unsigned long long)(answered * size), seconds * 1e6, (unsigned long long)lost,
           latencies[known / 2], latencies[known * 99 / 100], latencies[known * 999 / 1000]);
}

static int load(char **words)
{
    struct sockaddr_in there = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(words[1]))};
    int count = atoi(words[2]), epoll = epoll_create1(0);
    size_t size = (size_t)atoi(words[3]);
    double seconds = atof(words[4]);
    latencies = calloc(LATENCIES, sizeof *latencies);
    if (inet_pton(AF_INET, words[0], &there.sin_addr) != 1 || count < 1 || count > MAX_CLIENTS || size > ROOM || !latencies)
        fail("arguments");
    for (int i = 0; i < count; i++) {
        struct epoll_event event = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
        clients[i].fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
        if (clients[i].fd < 0 || connect(clients[i].fd, (struct sockaddr *)&there, sizeof there) < 0)
            fail("connect");
        (void)epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &event);
        ask(&clients[i], size);
    }
    uint64_t start = now_ns(), end = start + (uint64_t)(seconds * 1e9), looked = start;
    while (now_ns() < end) {
        struct epoll_event events[256];
        int got = epoll_wait(epoll, events, 256, 50);
        for (int i = 0; i < got; i++)
            hear(&clients[events[i].data.u32], size);
        if (now_ns() - looked < RESEND_NS / 4)
            continue;
        looked = now_ns();
        for (int i = 0; i < count; i++)
            if (looked - clients[i].asked_ns > RESEND_NS) {
                lost++;
                ask(&clients[i], size);
            }
    }
    report((double)(now_ns() - start) / 1e9, size);
    return 0;
}

int main(int count, char **words)
{
    if (count == 2 && !strcmp(words[1], "echo"))
        echo();
    if (count == 7 && !strcmp(words[1], "load"))
        return load(words + 2);
    fprintf(stderr, "usage: datagrams echo | load HOST PORT CLIENTS SIZE SECONDS\n");
    return 2;
}
