#include "net.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "congestion.h"
#include "io.h"
#include "ip.h"
#include "siphash.h"

enum { KEEPALIVE_PROBES = 3, KEEPALIVE_INTERVAL_S = 10 };

static int set(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

int lb_net_keep_alive(int fd, uint32_t idle_s)
{
    int error = set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    if (!error)
        error = set(fd, IPPROTO_TCP, TCP_KEEPIDLE, (int)idle_s);
    if (!error)
        error = set(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
    if (!error)
        error = set(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES);
    return error;
}

static int set_options(int fd, uint32_t tcp_keepalive_s)
{
    int error = set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    return error || !tcp_keepalive_s ? error : lb_net_keep_alive(fd, tcp_keepalive_s);
}

/* EAGAIN is not the lack of a port that it is elsewhere: the backlog of a unix socket is full (unix(7)), and no event would tell when it is
 * not. So it is refused, as FreeBSD has it. */
static int why_not(int local, int error)
{
    return local && error == EAGAIN ? -ECONNREFUSED : -error;
}

int lb_net_connect(const struct lb_destination *to, uint32_t tcp_keepalive_s, const char *loopback_control)
{
    int local = to->at.any.sa_family == AF_UNIX;
    int fd = socket(to->at.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int error = local ? 0 : set_options(fd, tcp_keepalive_s);
    if (loopback_control && !local && lb_net_is_loopback(&to->at.ip))
        lb_congestion_set(fd, loopback_control);
    if (!error && connect(fd, &to->at.any, to->length) < 0 && errno != EINPROGRESS)
        error = why_not(local, errno);
    if (error) {
        close(fd);
        return error;
    }
    return fd;
}

int lb_net_error(int fd)
{
    int error = 0;
    socklen_t length = sizeof error;
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0)
        return errno;
    return error;
}

int lb_net_is_loopback(const union lb_address *address)
{
    static const uint8_t v4[13] = {[10] = 0xff, [11] = 0xff, [12] = 127};
    uint8_t ip[16];
    lb_net_as_v6(address, ip);
    return memcmp(ip, v4, sizeof v4) == 0 || IN6_IS_ADDR_LOOPBACK((const struct in6_addr *)(const void *)ip);
}

int lb_net_is_self(int fd)
{
    union lb_address mine = {0}, peer = {0};
    socklen_t mine_length = sizeof mine, peer_length = sizeof peer;
    if (getsockname(fd, &mine.any, &mine_length) < 0 || getpeername(fd, &peer.any, &peer_length) < 0)
        return 0;
    if (mine.any.sa_family == AF_INET6)
        return mine.v6.sin6_port == peer.v6.sin6_port &&
               memcmp(&mine.v6.sin6_addr, &peer.v6.sin6_addr, sizeof mine.v6.sin6_addr) == 0;
    return mine.any.sa_family == AF_INET && mine.v4.sin_port == peer.v4.sin_port &&
           mine.v4.sin_addr.s_addr == peer.v4.sin_addr.s_addr;
}

void lb_net_reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    lb_close(fd, 1);
}

int lb_net_has_sent_all(int fd)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    const struct lb_ring_socket *served = lb_ring_socket_of(fd);
    if (served && served->send != LB_RING_NO_SEND)
        return 0;
    /* what is queued and not sent yet waits for room that acknowledgements make: then something is unacknowledged, too. What a unix
     * socket has taken lies in its peer's queue, which outlives it */
    return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == 0 ? !info.tcpi_unacked : errno == EOPNOTSUPP;
}

void lb_net_quickack(int fd)
{
    (void)set(fd, IPPROTO_TCP, TCP_QUICKACK, 1);
}

uint64_t lb_net_address_hash(const union lb_address *address)
{
    static const uint8_t key[16] = "lbcore address1";
    if (address->any.sa_family == AF_INET6)
        return lb_siphash(key, &address->v6.sin6_addr, sizeof address->v6.sin6_addr);
    return lb_siphash(key, &address->v4.sin_addr, sizeof address->v4.sin_addr);
}

void lb_net_as_v6(const union lb_address *address, uint8_t ip[16])
{
    if (address->any.sa_family == AF_INET6) {
        memcpy(ip, &address->v6.sin6_addr, 16);
    } else if (address->any.sa_family == AF_UNIX) {
        memset(ip, 0, 16);
    } else {
        lb_ip_from_v4(ip, &address->v4.sin_addr);
    }
}

union lb_address lb_net_from_v6(const uint8_t ip[16], uint16_t port)
{
    union lb_address address = {.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)}};
    memcpy(&address.v6.sin6_addr, ip, 16);
    return address;
}

uint16_t lb_net_port(const union lb_address *address)
{
    return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

uint64_t lb_net_now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}
