#include "tcp_state.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

enum {
    SND_WND = 57,           /* word of struct tcp_info: tcpi_snd_wnd, since Linux 5.4; older headers do not name it */
    RTO_MAX_MS = 44,        /* TCP_RTO_MAX_MS */
    RTO_MAX_LEAST = 1000,   /* what the kernel takes ... */
    RTO_MAX_USUAL = 120000, /* ... and has by default */
    PROBES_LOST = 2,        /* one probe may get lost on its way */
};

int lb_tcp_ask(int fd, struct lb_tcp_state *state)
{
    union {
        struct tcp_info info;
        uint32_t words[96];
    } got = {.words = {0}};
    const struct tcp_info *info = &got.info;
    got.words[SND_WND] = 1;
    socklen_t size = sizeof got;
    *state = (struct lb_tcp_state){0};
    if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &got, &size) < 0)
        return errno == EOPNOTSUPP ? 0 : -errno; /* a unix socket: what it took is with its peer */
    int shut = info->tcpi_unacked ? !got.words[SND_WND] : info->tcpi_notsent_bytes != 0;
    *state = (struct lb_tcp_state){
        .acked = (uint32_t)info->tcpi_bytes_acked,
        .last_ack_ms = info->tcpi_last_ack_recv,
        .outstanding = info->tcpi_unacked || info->tcpi_notsent_bytes,
        .closed = (uint8_t)shut,
    };
    /* what carries no data is not in tcpi_last_data_sent: a probe, and a FIN, which shows by being sent again. Probes of an idle
     * connection are keep-alive's own matter. */
    if (info->tcpi_unacked)
        state->owes = info->tcpi_last_data_sent < info->tcpi_last_ack_recv || (info->tcpi_retransmits && !shut);
    else
        state->owes = shut && info->tcpi_probes >= PROBES_LOST;
    return 0;
}

static int set(int fd, int value)
{
    return setsockopt(fd, IPPROTO_TCP, RTO_MAX_MS, &value, sizeof value);
}

int lb_tcp_hurry(int fd, uint32_t most_ms)
{
    uint32_t ms = most_ms < RTO_MAX_LEAST ? RTO_MAX_LEAST : most_ms < RTO_MAX_USUAL ? most_ms : RTO_MAX_USUAL;
    return set(fd, (int)ms) == 0;
}

void lb_tcp_unhurry(int fd)
{
    (void)set(fd, RTO_MAX_USUAL);
}
