#include "repair.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdint.h>
#include <sys/socket.h>
#include <unistd.h>

/* What there is to be known of a connection, to set it up once more. */
struct state {
    struct sockaddr_in here;
    struct sockaddr_in there;
    uint32_t send_seq;
    uint32_t receive_seq;
    uint32_t timestamp;
    struct tcp_repair_window window;
    struct tcp_info info;
};

static int choose(int fd, int option, int value)
{
    return setsockopt(fd, IPPROTO_TCP, option, &value, sizeof value);
}

static int ask(int fd, int option, void *value, socklen_t size)
{
    return getsockopt(fd, IPPROTO_TCP, option, value, &size);
}

static int write_down(int fd, struct state *state)
{
    socklen_t size = sizeof state->here;
    return getsockname(fd, (struct sockaddr *)&state->here, &size) < 0 ||
                   getpeername(fd, (struct sockaddr *)&state->there, &size) < 0 ||
                   ask(fd, TCP_INFO, &state->info, sizeof state->info) < 0 || choose(fd, TCP_REPAIR, TCP_REPAIR_ON) < 0 ||
                   ask(fd, TCP_TIMESTAMP, &state->timestamp, sizeof state->timestamp) < 0 ||
                   ask(fd, TCP_REPAIR_WINDOW, &state->window, sizeof state->window) < 0 ||
                   choose(fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE) < 0 ||
                   ask(fd, TCP_QUEUE_SEQ, &state->send_seq, sizeof state->send_seq) < 0 ||
                   choose(fd, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE) < 0 ||
                   ask(fd, TCP_QUEUE_SEQ, &state->receive_seq, sizeof state->receive_seq) < 0
             ? -1
             : 0;
}

static int set_options(int fd, const struct state *state)
{
    const struct tcp_repair_opt options[] = {
        {2, state->info.tcpi_snd_mss}, /* TCPOPT_MSS, _WINDOW, _SACK_PERM, _TIMESTAMP */
        {3, state->info.tcpi_snd_wscale | (uint32_t)state->info.tcpi_rcv_wscale << 16},
        {4, 0},
        {8, 0},
    };
    size_t count = state->info.tcpi_options & TCPI_OPT_TIMESTAMPS ? 4 : 3;
    return setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_OPTIONS, options, (socklen_t)(count * sizeof *options));
}

/* The same connection, as its sender was some bytes ago. */
static int set_up_again(const struct state *state, uint32_t back)
{
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct tcp_repair_window window = state->window;
    window.snd_wl1 = state->receive_seq;
    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 || choose(fd, TCP_REPAIR, TCP_REPAIR_ON) < 0 ||
        bind(fd, (const struct sockaddr *)&state->here, sizeof state->here) < 0 ||
        choose(fd, TCP_REPAIR_QUEUE, TCP_SEND_QUEUE) < 0 || choose(fd, TCP_QUEUE_SEQ, (int)(state->send_seq - back)) < 0 ||
        choose(fd, TCP_REPAIR_QUEUE, TCP_RECV_QUEUE) < 0 || choose(fd, TCP_QUEUE_SEQ, (int)state->receive_seq) < 0 ||
        connect(fd, (const struct sockaddr *)&state->there, sizeof state->there) < 0 || set_options(fd, state) < 0 ||
        choose(fd, TCP_TIMESTAMP, (int)state->timestamp) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_REPAIR_WINDOW, &window, sizeof window) < 0 ||
        choose(fd, TCP_REPAIR, TCP_REPAIR_OFF_NO_WP) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int lb_repair_put_back(int fd, uint32_t bytes)
{
    struct state state;
    int failed = write_down(fd, &state) < 0;
    close(fd);
    return failed ? -1 : set_up_again(&state, bytes);
}
