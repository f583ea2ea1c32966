/* Sockets, as this engine wants them: non-blocking, close-on-exec, errors as -errno. */
#ifndef LB_NET_H
#define LB_NET_H

#include <netinet/in.h>
#include <stdint.h>
#include <sys/un.h>

union lb_address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

/* Where a connect goes: with room for the path of a unix socket, which a union lb_address has not. */
struct lb_destination {
    socklen_t length;
    union {
        struct sockaddr any;
        union lb_address ip;
        struct sockaddr_un local;
    } at;
};

/* A client, and the address of ours (or of the proxy before us) that it came to. Family 0: the socket knows it; AF_UNIX: it has none. */
struct lb_ends {
    union lb_address client;
    union lb_address here;
    uint32_t proxy_info; /* where it stands what a PROXY header said (l4/proxy_info.h), the holder's to drop; 0: nowhere */
    uint32_t counted;    /* where its session is counted (table/clients.h), the holder's to leave; 0: nowhere */
};

/* Begin to connect: a descriptor whose connect is under way or done, or -errno. tcp_keepalive_s: 0: none, or later. loopback_control:
 * congestion control where `to` is a loopback address (core/congestion.h); NULL: the host's, there too. A unix socket knows neither. */
__attribute__((warn_unused_result)) int lb_net_connect(const struct lb_destination *to, uint32_t tcp_keepalive_s,
                                                       const char *loopback_control);

/* Have a silent peer asked whether it is there still, once it was silent for so long: 0, or -errno. */
int lb_net_keep_alive(int fd, uint32_t idle_s);

/* The pending error of a socket, cleared by the call; 0 if there is none. */
int lb_net_error(int fd);

/* Is it of 127.0.0.0/8 or ::1? */
int lb_net_is_loopback(const union lb_address *address);

/* Is the socket connected to itself? A port of the ephemeral range that nobody listens on may be reached so, by simultaneous
 * open (RFC 9293 3.5). */
int lb_net_is_self(int fd);

/* Close with a reset: the peer reads ECONNRESET, not an end of file. */
void lb_net_reset(int fd);

/* Has the peer's host acknowledged all that was sent? */
int lb_net_has_sent_all(int fd);

/* Acknowledge what has arrived now, not in 40 ms. */
void lb_net_quickack(int fd);

/* The address without its port, the same hash everywhere. */
uint64_t lb_net_address_hash(const union lb_address *address);

/* The address as IPv6: IPv4 is mapped into it (RFC 4291 2.5.5.2). A unix socket's is `::`, which no host has (2.5.2). */
void lb_net_as_v6(const union lb_address *address, uint8_t ip[16]);

/* And back, with a port in host byte order. */
union lb_address lb_net_from_v6(const uint8_t ip[16], uint16_t port);

/* Its port, in host byte order; 0: a unix socket's. */
uint16_t lb_net_port(const union lb_address *address);

/* Monotonic clock, microseconds. */
uint64_t lb_net_now_us(void);

#endif
