/* The PROXY protocol, versions 1 and 2, read (proxy_read.c) and written (proxy_write.c): the addresses of a connection's first
 * ends, said before its first byte. "2.2" and the like name sections of HAProxy's proxy-protocol.txt. Nothing is kept between
 * calls. */
#ifndef LB_PROXY_PROTOCOL_H
#define LB_PROXY_PROTOCOL_H

#include <stdint.h>
#include <sys/socket.h>

enum {
    LB_PROXY_LINE = 107,  /* bytes of the longest line of version 1, CRLF included (2.1) */
    LB_PROXY_MOST = 4096, /* of the longest header of version 2 that we read or write */
};

enum lb_proxy_fate { LB_PROXY_DONE, LB_PROXY_MORE, LB_PROXY_BAD };

/* What a header said. All zero unless it is done. */
struct lb_proxy_told {
    struct sockaddr_storage from, to;        /* family AF_UNSPEC, both: the connection's own addresses count */
    uint32_t bytes;                          /* of the whole header */
    uint32_t authority_at, authority_length; /* in the data; length 0: none */
    uint32_t alpn_at, alpn_length;
    uint8_t tls; /* the client spoke TLS */
};

/* What version 2 can say beside the addresses. The texts may hold any bytes where they have a length. */
struct lb_proxy_extra {
    const char *authority;
    uint32_t authority_length; /* 0: none */
    const char *alpn;
    uint32_t alpn_length;
    uint8_t tls;             /* the client spoke TLS; without it, the next three are not said */
    uint32_t verify;         /* 0: its certificate was verified; anything else: it was not, or there was none */
    const char *tls_version; /* or NULL */
    const char *common_name; /* of its certificate, or NULL */
    uint8_t crc;             /* add a checksum */
};

/* Read from a connection's first byte on. MORE: as far as it goes, it is a header. */
__attribute__((warn_unused_result)) enum lb_proxy_fate lb_proxy_read(struct lb_proxy_told *told, const uint8_t *data,
                                                                     uint32_t count);

/* Write a header: its bytes. IPv4 mapped into IPv6 is IPv4 when both ends are; ends of two families are not told. */

/* out: LB_PROXY_LINE + 1 bytes. NUL-ended. */
uint32_t lb_proxy_write_v1(char *out, const struct sockaddr_storage *from, const struct sockaddr_storage *to);

/* extra may be NULL; where the ends are not told, it is not either. 0: it does not fit into the room, or is longer than
 * LB_PROXY_MOST. */
__attribute__((warn_unused_result)) uint32_t lb_proxy_write_v2(uint8_t *out, uint32_t room, const struct sockaddr_storage *from,
                                                               const struct sockaddr_storage *to,
                                                               const struct lb_proxy_extra *extra);

#endif
