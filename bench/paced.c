// Requests at a fixed rate, whether or not responses come: an open load, its latency free of coordinated omission (Tene, "How not
// to measure latency", 2013).
//
//     paced HOST PORT PATH CONNECTIONS RATE SECONDS WARMUP_SECONDS
//
// Request k is due RATE⁻¹ × k seconds after the start, on connection k mod CONNECTIONS; its latency counts from when it was due, also
// when its connection was still waiting for the answer before. Prints one line, REPORT {json}, as wrk_report.lua does.

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_CONNECTIONS = 4096, ANSWER_ROOM = 4096, DRAIN_NS = 2000000000 };

struct connection {
    int fd;
    uint32_t had;  // bytes of the answer that is being read
    uint64_t next; // the number of the request to send next, or of the one that is under way
    bool waiting;  // for an answer
    char answer[ANSWER_ROOM];
};

static struct connection connections[MAX_CONNECTIONS];
static uint64_t count, errors, received, sent, answered;
static double gap_ns;
static uint64_t start_ns;
static uint64_t *latencies;
static char request[1024];
static size_t request_length;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void fail(const char *what)
{
    fprintf(stderr, "paced: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t due_ns(uint64_t number)
{
    return start_ns + (uint64_t)((double)number * gap_ns);
}

static int connected(const struct sockaddr_in *address)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof *address) < 0)
        fail("connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return fd;
}

static void ask(struct connection *connection)
{
    if (send(connection->fd, request, request_length, MSG_NOSIGNAL) != (ssize_t)request_length)
        fail("send");
    connection->waiting = true;
    connection->had = 0;
    sent++;
}

// The length of a whole answer, or 0 while its head is not there.
static size_t answer_length(const struct connection *connection)
{
    const char *end = memmem(connection->answer, connection->had, "\r\n\r\n", 4);
    if (!end)
        return 0;
    const char *length = strcasestr(connection->answer, "\r\ncontent-length:");
    const size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    if (!body || strncmp(connection->answer + 8, " 200", 4) != 0)
        errors++; // also an empty one: no origin gives it, so it is not the origin's
    return (size_t)(end - connection->answer) + 4 + body;
}

// Reads what is there. True when the answer is whole.
static bool read_answer(struct connection *connection)
{
    ssize_t got = recv(connection->fd, connection->answer + connection->had, ANSWER_ROOM - 1 - connection->had, MSG_DONTWAIT);
    if (got < 0 && errno == EAGAIN)
        return false;
    if (got <= 0)
        fail("a connection ended before its answer was whole");
    received += (uint64_t)got;
    connection->had += (uint32_t)got;
    connection->answer[connection->had] = 0;
    const size_t whole = answer_length(connection);
    if (whole >= ANSWER_ROOM)
        fail("answers over 4 kB are not for this load");
    return whole && connection->had >= whole;
}

static void take(struct connection *connection, uint64_t total, uint64_t connection_count, uint64_t warm)
{
    if (!connection->waiting || !read_answer(connection))
        return;
    const uint64_t now = now_ns();
    if (connection->next >= warm)
        latencies[count++] = now - due_ns(connection->next);
    answered++;
    connection->waiting = false;
    connection->next += connection_count;
    if (connection->next < total && due_ns(connection->next) <= now)
        ask(connection);
}

static int ascending(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

static double quantile_us(double share)
{
    uint64_t at = (uint64_t)(share * (double)count);
    return (double)latencies[at < count ? at : count - 1] / 1e3;
}

static void drive(int epoll_fd, uint64_t total, uint64_t connection_count, uint64_t warm)
{
    struct epoll_event events[64];
    uint64_t coming = 0;
    const uint64_t deadline = due_ns(total) + DRAIN_NS;
    while (answered < total && now_ns() < deadline) {
        for (; coming < total && due_ns(coming) <= now_ns(); coming++) {
            struct connection *connection = &connections[coming % connection_count];
            if (!connection->waiting && connection->next == coming)
                ask(connection);
        }
        const uint64_t now = now_ns(), due = coming < total ? due_ns(coming) : deadline;
        const uint64_t left = due > now ? due - now : 0;
        const struct timespec wait = {(time_t)(left / 1000000000u), (long)(left % 1000000000u)};
        const int ready = epoll_pwait2(epoll_fd, events, 64, &wait, NULL);
        for (int i = 0; i < ready; i++)
            take(events[i].data.ptr, total, connection_count, warm);
    }
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "usage: paced HOST PORT PATH CONNECTIONS RATE SECONDS WARMUP_SECONDS\n");
        return 2;
    }
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    const uint64_t connection_count = strtoull(argv[4], NULL, 10);
    const double rate = strtod(argv[5], NULL), seconds = strtod(argv[6], NULL), warm_seconds = strtod(argv[7], NULL);
    if (!inet_aton(argv[1], &address.sin_addr) || !connection_count || connection_count > MAX_CONNECTIONS || !(rate > 0) ||
        rate > 1e6 || !(seconds > 0) || seconds > 600 || warm_seconds < 0 || warm_seconds > 60) {
        fprintf(stderr, "paced: a number is out of range\n");
        return 2;
    }
    const uint64_t warm = (uint64_t)(rate * warm_seconds), total = warm + (uint64_t)(rate * seconds);
    gap_ns = 1e9 / rate;
    request_length = (size_t)snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", argv[3]);
    latencies = calloc(total + 1, sizeof *latencies);
    const int epoll_fd = epoll_create1(0);
    if (!latencies || epoll_fd < 0)
        fail("no room");
    for (uint64_t i = 0; i < connection_count; i++) {
        connections[i] = (struct connection){.fd = connected(&address), .next = i};
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = &connections[i]};
        if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connections[i].fd, &event) < 0)
            fail("epoll_ctl");
    }
    start_ns = now_ns() + 1000000;
    drive(epoll_fd, total, connection_count, warm);
    const double took_us = (double)(now_ns() - start_ns) / 1e3;
    if (!count)
        fail("no answer");
    qsort(latencies, count, sizeof *latencies, ascending);
    printf("REPORT {\"duration_us\":%.0f,\"requests\":%llu,\"bytes\":%llu,\"status_errors\":%llu,\"timeouts\":%llu,"
           "\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"max_us\":%.1f}\n",
           took_us, (unsigned long long)answered, (unsigned long long)received, (unsigned long long)errors,
           (unsigned long long)(total - answered), quantile_us(0.5), quantile_us(0.99), quantile_us(0.999), quantile_us(1.0));
    return 0;
}
