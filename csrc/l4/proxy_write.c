#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "../core/net.h"
#include "proxy_protocol.h"
#include "proxy_wire.h"

static int is_v4(const union lb_address *address)
{
    return address->any.sa_family == AF_INET ||
           (address->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr));
}

/* The family in which both ends can be said, and they in it; AF_UNSPEC if there is none. */
static int gather(struct lb_proxy_ends *ends, const struct sockaddr_storage *from, const struct sockaddr_storage *to)
{
    union lb_address end[2];
    memset(ends, 0, sizeof *ends);
    memcpy(&end[0], from, sizeof end[0]);
    memcpy(&end[1], to, sizeof end[1]);
    int v4 = is_v4(&end[0]) && is_v4(&end[1]);
    if (!v4 && (end[0].any.sa_family != AF_INET6 || end[1].any.sa_family != AF_INET6))
        return AF_UNSPEC;
    for (int i = 0; i < 2; i++) {
        const uint8_t *wide = end[i].v6.sin6_addr.s6_addr;
        if (end[i].any.sa_family == AF_INET)
            memcpy(ends->ip[i], &end[i].v4.sin_addr, 4);
        else
            memcpy(ends->ip[i], v4 ? wide + 12 : wide, v4 ? 4 : 16);
        ends->port[i] = ntohs(end[i].any.sa_family == AF_INET ? end[i].v4.sin_port : end[i].v6.sin6_port);
    }
    return v4 ? AF_INET : AF_INET6;
}

uint32_t lb_proxy_write_v1(char *out, const struct sockaddr_storage *from, const struct sockaddr_storage *to)
{
    struct lb_proxy_ends ends;
    char source[INET6_ADDRSTRLEN], target[INET6_ADDRSTRLEN];
    int family = gather(&ends, from, to);
    if (family == AF_UNSPEC)
        return (uint32_t)snprintf(out, LB_PROXY_LINE + 1, "PROXY UNKNOWN\r\n");
    (void)inet_ntop(family, ends.ip[0], source, sizeof source);
    (void)inet_ntop(family, ends.ip[1], target, sizeof target);
    return (uint32_t)snprintf(out, LB_PROXY_LINE + 1, "PROXY TCP%c %s %s %u %u\r\n", family == AF_INET ? '4' : '6', source,
                              target, (unsigned)ends.port[0], (unsigned)ends.port[1]);
}

/* Writes until something does not fit, then nothing more. */
struct pen {
    uint8_t *out;
    uint32_t room, used;
    int full;
};

/* Room for so many bytes; NULL when there is none. */
static uint8_t *reserve(struct pen *pen, uint32_t count)
{
    if (pen->full || count > pen->room - pen->used) {
        pen->full = 1;
        return NULL;
    }
    pen->used += count;
    return pen->out + pen->used - count;
}

/* A TLV whose value is still to be filled in: where, or NULL. */
static uint8_t *add_tlv(struct pen *pen, uint8_t type, uint32_t length)
{
    uint8_t *at = reserve(pen, TLV_START + (length < LB_PROXY_MOST ? length : LB_PROXY_MOST)); /* which never fits */
    if (!at)
        return NULL;
    at[0] = type;
    lb_proxy_set_16(at + 1, length);
    return at + TLV_START;
}

static void add_bytes(struct pen *pen, uint8_t type, const char *bytes, uint32_t length)
{
    uint8_t *value = length ? add_tlv(pen, type, length) : NULL;
    if (value)
        memcpy(value, bytes, length);
}

static void add_text(struct pen *pen, uint8_t type, const char *text)
{
    if (text)
        add_bytes(pen, type, text, (uint32_t)strnlen(text, LB_PROXY_MOST));
}

static void add_ssl(struct pen *pen, const struct lb_proxy_extra *extra)
{
    uint8_t *value = add_tlv(pen, TYPE_SSL, SSL_START);
    if (!value)
        return;
    uint32_t start = pen->used - SSL_START;
    value[0] = CLIENT_SSL | (extra->common_name ? CLIENT_CERT_SESS : 0); /* a name is that of a certificate */
    lb_proxy_set_32(value + 1, extra->verify);
    add_text(pen, SUBTYPE_SSL_VERSION, extra->tls_version);
    add_text(pen, SUBTYPE_SSL_CN, extra->common_name);
    lb_proxy_set_16(value - 2, pen->used - start);
}

static void add_ends(struct pen *pen, int family, const struct lb_proxy_ends *ends)
{
    uint32_t width = family == V2_INET ? 4 : 16;
    uint8_t *block = reserve(pen, lb_proxy_bytes_of_ends(family));
    if (!block)
        return;
    for (uint32_t i = 0; i < 2; i++) {
        memcpy(block + i * width, ends->ip[i], width);
        lb_proxy_set_16(block + 2 * width + 2 * i, ends->port[i]);
    }
}

static void add_extra(struct pen *pen, const struct lb_proxy_extra *extra)
{
    add_bytes(pen, TYPE_ALPN, extra->alpn, extra->alpn_length);
    add_bytes(pen, TYPE_AUTHORITY, extra->authority, extra->authority_length);
    if (extra->tls)
        add_ssl(pen, extra);
}

/* Last, since it is over everything. */
static void add_checksum(struct pen *pen)
{
    uint8_t *value = add_tlv(pen, TYPE_CRC32C, CRC_BYTES);
    if (!value)
        return;
    lb_proxy_set_16(pen->out + 14, pen->used - V2_START);
    lb_proxy_set_32(value, lb_proxy_checksum(pen->out, pen->used, pen->used - CRC_BYTES));
}

uint32_t lb_proxy_write_v2(uint8_t *out, uint32_t room, const struct sockaddr_storage *from, const struct sockaddr_storage *to,
                           const struct lb_proxy_extra *extra)
{
    struct pen pen = {out, room < LB_PROXY_MOST ? room : LB_PROXY_MOST, 0, 0};
    struct lb_proxy_ends ends;
    int ours = gather(&ends, from, to);
    if (!reserve(&pen, V2_START))
        return 0;
    memcpy(out, lb_proxy_signature, sizeof lb_proxy_signature);
    if (ours == AF_UNSPEC) { /* LOCAL, which everybody takes: PROXY of no family may be refused (2.2), and HAProxy does */
        memcpy(out + 12, (const uint8_t[]){V2_VERSION | V2_LOCAL, 0, 0, 0}, V2_START - 12);
        return V2_START;
    }
    int family = ours == AF_INET ? V2_INET : V2_INET6;
    out[12] = V2_VERSION | V2_PROXY;
    out[13] = (uint8_t)(family << 4 | V2_STREAM);
    add_ends(&pen, family, &ends);
    if (extra)
        add_extra(&pen, extra);
    lb_proxy_set_16(out + 14, pen.used - V2_START);
    if (extra && extra->crc)
        add_checksum(&pen);
    return pen.full ? 0 : pen.used;
}
