#include "proxy_protocol.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "../core/net.h"

/* Both ends as the wire has them: the source first. IPv4 takes the first four bytes. */
struct ends {
    uint8_t ip[2][16];
    uint16_t port[2];
};

static void tell_end(struct sockaddr_storage *out, int family, const uint8_t *ip, uint16_t port)
{
    union lb_address address = {0};
    if (family == AF_INET) {
        address.v4.sin_family = AF_INET;
        address.v4.sin_port = htons(port);
        memcpy(&address.v4.sin_addr, ip, sizeof address.v4.sin_addr);
    } else {
        address.v6.sin6_family = AF_INET6;
        address.v6.sin6_port = htons(port);
        memcpy(&address.v6.sin6_addr, ip, sizeof address.v6.sin6_addr);
    }
    memcpy(out, &address, sizeof address);
}

static void tell_ends(struct lb_proxy_told *told, int family, const struct ends *ends)
{
    tell_end(&told->from, family, ends->ip[0], ends->port[0]);
    tell_end(&told->to, family, ends->ip[1], ends->port[1]);
}

/* --- reading version 1 ---------------------------------------------------------------------------------------------- */

struct line {
    const uint8_t *data;
    uint32_t count;
    uint32_t at;
};

/* The text up to a delimiter, which is passed. A byte that cannot be in it, or one too many, is bad before the end is seen.
 * text: most + 1 bytes. */
static enum lb_proxy_fate next_text(struct line *line, uint8_t delimiter, const char *alphabet, uint32_t most, char *text)
{
    uint32_t length = 0;
    while (line->at < line->count) {
        uint8_t c = line->data[line->at++];
        if (c == delimiter) {
            text[length] = 0;
            return LB_PROXY_DONE;
        }
        if (length == most || !memchr(alphabet, c, strlen(alphabet)))
            return LB_PROXY_BAD;
        text[length++] = (char)c;
    }
    return LB_PROXY_MORE;
}

static enum lb_proxy_fate next_ip(struct line *line, int family, uint8_t *ip)
{
    char text[INET6_ADDRSTRLEN];
    uint32_t most = family == AF_INET ? INET_ADDRSTRLEN - 1 : INET6_ADDRSTRLEN - 1;
    const char *alphabet = family == AF_INET ? "0123456789." : "0123456789abcdefABCDEF:.";
    enum lb_proxy_fate fate = next_text(line, ' ', alphabet, most, text);
    if (fate != LB_PROXY_DONE)
        return fate;
    return inet_pton(family, text, ip) == 1 ? LB_PROXY_DONE : LB_PROXY_BAD;
}

static enum lb_proxy_fate next_port(struct line *line, uint8_t delimiter, uint16_t *port)
{
    char text[6];
    uint32_t value = 0;
    enum lb_proxy_fate fate = next_text(line, delimiter, "0123456789", 5, text);
    if (fate != LB_PROXY_DONE)
        return fate;
    for (const char *c = text; *c; c++)
        value = value * 10 + (uint32_t)(*c - '0');
    if (!text[0] || (text[0] == '0' && text[1]) || value > 65535)
        return LB_PROXY_BAD;
    *port = (uint16_t)value;
    return LB_PROXY_DONE;
}

/* From behind "TCP4 " or "TCP6 " on. What is complete is checked, whether the line has ended or not. */
static enum lb_proxy_fate read_ends(struct lb_proxy_told *told, struct line *line, int family)
{
    struct ends ends = {0};
    enum lb_proxy_fate fate = next_ip(line, family, ends.ip[0]);
    if (fate == LB_PROXY_DONE)
        fate = next_ip(line, family, ends.ip[1]);
    if (fate == LB_PROXY_DONE)
        fate = next_port(line, ' ', &ends.port[0]);
    if (fate == LB_PROXY_DONE)
        fate = next_port(line, '\r', &ends.port[1]);
    if (fate != LB_PROXY_DONE)
        return fate;
    if (line->at == line->count)
        return LB_PROXY_MORE;
    if (line->data[line->at++] != '\n')
        return LB_PROXY_BAD;
    tell_ends(told, family, &ends);
    told->bytes = line->at;
    return LB_PROXY_DONE;
}

/* From behind "UNKNOWN" on: a space and anything, or nothing, and then CRLF (2.1). */
static enum lb_proxy_fate skip_line(struct lb_proxy_told *told, const struct line *line)
{
    uint32_t left = line->count - line->at;
    const uint8_t *rest = line->data + line->at;
    if (left && rest[0] != ' ' && (rest[0] != '\r' || (left > 1 && rest[1] != '\n')))
        return LB_PROXY_BAD;
    const uint8_t *end = left ? memmem(rest, left, "\r\n", 2) : NULL;
    if (!end)
        return LB_PROXY_MORE;
    told->bytes = (uint32_t)(end - line->data) + 2;
    return LB_PROXY_DONE;
}

static enum lb_proxy_fate read_line(struct lb_proxy_told *told, struct line *line)
{
    static const struct {
        const char *start;
        int family;
    } kinds[] = {{"PROXY TCP4 ", AF_INET}, {"PROXY TCP6 ", AF_INET6}, {"PROXY UNKNOWN", AF_UNSPEC}};
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint32_t length = (uint32_t)strlen(kinds[i].start);
        if (memcmp(line->data, kinds[i].start, line->count < length ? line->count : length) != 0)
            continue;
        if (line->count < length)
            return LB_PROXY_MORE;
        line->at = length;
        return kinds[i].family == AF_UNSPEC ? skip_line(told, line) : read_ends(told, line, kinds[i].family);
    }
    return LB_PROXY_BAD;
}

static enum lb_proxy_fate read_v1(struct lb_proxy_told *told, const uint8_t *data, uint32_t count)
{
    struct line line = {data, count < LB_PROXY_LINE ? count : LB_PROXY_LINE, 0};
    enum lb_proxy_fate fate = read_line(told, &line);
    return fate == LB_PROXY_MORE && count >= LB_PROXY_LINE ? LB_PROXY_BAD : fate;
}

/* --- version 2, to read and to write -------------------------------------------------------------------------------- */

static const uint8_t signature[12] = {'\r', '\n', '\r', '\n', 0, '\r', '\n', 'Q', 'U', 'I', 'T', '\n'};

enum {
    START = 16, /* bytes before the addresses */
    VERSION = 0x20,
    LOCAL = 0,
    PROXY = 1,
    FAMILY_INET = 1,
    FAMILY_INET6 = 2,
    FAMILY_UNIX = 3,
    PROTOCOL_UNSPEC = 0,
    STREAM = 1,
    DGRAM = 2,
};

enum { /* 2.2 */
    TYPE_ALPN = 0x01,
    TYPE_AUTHORITY = 0x02,
    TYPE_CRC32C = 0x03,
    TYPE_UNIQUE_ID = 0x05,
    TYPE_SSL = 0x20,
    SUBTYPE_SSL_VERSION = 0x21,
    SUBTYPE_SSL_CN = 0x22,
    CLIENT_SSL = 0x01,
    CLIENT_CERT_SESS = 0x04,
    TLV_START = 3, /* bytes of type and length */
    SSL_START = 5, /* of client and verify */
    CRC_BYTES = 4,
    UNIQUE_ID_MOST = 128,
};

static uint32_t get_16(const uint8_t *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static uint32_t get_32(const uint8_t *at)
{
    return get_16(at) << 16 | get_16(at + 2);
}

static void set_16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static void set_32(uint8_t *at, uint32_t value)
{
    set_16(at, value >> 16);
    set_16(at + 2, value);
}

/* CRC32C (2.2.3, RFC 4960 appendix B) of a header whose own checksum is at `field`, and counts as zero. A header is short, and
 * few have one: bit by bit will do. */
static uint32_t checksum(const uint8_t *data, uint32_t count, uint32_t field)
{
    uint32_t crc = UINT32_MAX;
    for (uint32_t i = 0; i < count; i++) {
        crc ^= i >= field && i < field + CRC_BYTES ? 0 : data[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
    }
    return ~crc;
}

static uint32_t bytes_of_ends(int family)
{
    switch (family) {
    case FAMILY_INET:
        return 2 * 4 + 2 * 2;
    case FAMILY_INET6:
        return 2 * 16 + 2 * 2;
    case FAMILY_UNIX:
        return 2 * 108;
    default:
        return 0;
    }
}

/* --- reading version 2 ---------------------------------------------------------------------------------------------- */

struct tlv {
    uint8_t type;
    uint32_t at, length; /* of its value */
};

/* The next TLV before `end`; 0 if it goes beyond. */
static int next_tlv(const uint8_t *data, uint32_t *at, uint32_t end, struct tlv *tlv)
{
    if (end - *at < TLV_START)
        return 0;
    *tlv = (struct tlv){data[*at], *at + TLV_START, get_16(data + *at + 1)};
    if (tlv->length > end - tlv->at)
        return 0;
    *at = tlv->at + tlv->length;
    return 1;
}

static int read_ssl(struct lb_proxy_told *told, const uint8_t *data, const struct tlv *tlv)
{
    uint32_t at = tlv->at + SSL_START, end = tlv->at + tlv->length;
    struct tlv inner;
    if (tlv->length < SSL_START)
        return 0;
    while (at < end)
        if (!next_tlv(data, &at, end, &inner))
            return 0;
    told->tls = data[tlv->at] & CLIENT_SSL;
    return 1;
}

/* Said twice, it would mean two things to two readers. All are below 64. */
static int is_single(uint8_t type)
{
    return type == TYPE_ALPN || type == TYPE_AUTHORITY || type == TYPE_CRC32C || type == TYPE_SSL;
}

static int read_tlv(struct lb_proxy_told *told, const uint8_t *data, const struct tlv *tlv)
{
    switch (tlv->type) {
    case TYPE_ALPN:
        told->alpn_at = tlv->at;
        told->alpn_length = tlv->length;
        return 1;
    case TYPE_AUTHORITY:
        told->authority_at = tlv->at;
        told->authority_length = tlv->length;
        return 1;
    case TYPE_CRC32C:
        return tlv->length == CRC_BYTES && get_32(data + tlv->at) == checksum(data, told->bytes, tlv->at);
    case TYPE_UNIQUE_ID:
        return tlv->length <= UNIQUE_ID_MOST;
    case TYPE_SSL:
        return read_ssl(told, data, tlv);
    default:
        return 1; /* 2.2: what is not understood is skipped */
    }
}

static int read_tlvs(struct lb_proxy_told *told, const uint8_t *data, uint32_t at)
{
    uint64_t seen = 0;
    struct tlv tlv;
    while (at < told->bytes) {
        if (!next_tlv(data, &at, told->bytes, &tlv))
            return 0;
        uint64_t bit = is_single(tlv.type) ? UINT64_C(1) << tlv.type : 0;
        if (seen & bit || !read_tlv(told, data, &tlv))
            return 0;
        seen |= bit;
    }
    return 1;
}

/* Of a family or protocol that is not ours to use, the addresses are ignored (2.2). */
static void read_block(struct lb_proxy_told *told, const uint8_t *block, int family, int protocol)
{
    struct ends ends = {0};
    uint32_t width = family == FAMILY_INET ? 4 : 16;
    if (protocol == PROTOCOL_UNSPEC || (family != FAMILY_INET && family != FAMILY_INET6))
        return;
    for (uint32_t i = 0; i < 2; i++) {
        memcpy(ends.ip[i], block + i * width, width);
        ends.port[i] = (uint16_t)get_16(block + 2 * width + 2 * i);
    }
    tell_ends(told, family == FAMILY_INET ? AF_INET : AF_INET6, &ends);
}

/* Can its length be right? Of what has not come, nothing is assumed. */
static int may_measure(const uint8_t *data, uint32_t count, int is_local)
{
    uint32_t least = count > 15 ? get_16(data + 14) : (uint32_t)data[14] << 8;
    if (START + least > LB_PROXY_MOST)
        return 0;
    return count < START || is_local || least >= bytes_of_ends(data[13] >> 4);
}

/* The first 16 bytes, as far as they have come. The family of LOCAL is ignored (2.2). */
static int may_start(const uint8_t *data, uint32_t count)
{
    if (memcmp(data, signature, count < sizeof signature ? count : sizeof signature) != 0)
        return 0;
    if (count <= 12)
        return 1;
    int is_local = data[12] == (VERSION | LOCAL);
    if (!is_local && data[12] != (VERSION | PROXY))
        return 0;
    if (count > 13 && !is_local && (data[13] >> 4 > FAMILY_UNIX || (data[13] & 15) > DGRAM))
        return 0;
    return count <= 14 || may_measure(data, count, is_local);
}

static enum lb_proxy_fate read_v2(struct lb_proxy_told *told, const uint8_t *data, uint32_t count)
{
    if (!may_start(data, count))
        return LB_PROXY_BAD;
    if (count < START || count - START < get_16(data + 14))
        return LB_PROXY_MORE;
    told->bytes = START + get_16(data + 14);
    if (data[12] == (VERSION | LOCAL))
        return LB_PROXY_DONE;
    int family = data[13] >> 4;
    read_block(told, data + START, family, data[13] & 15);
    return read_tlvs(told, data, START + bytes_of_ends(family)) ? LB_PROXY_DONE : LB_PROXY_BAD;
}

enum lb_proxy_fate lb_proxy_read(struct lb_proxy_told *told, const uint8_t *data, uint32_t count)
{
    memset(told, 0, sizeof *told);
    if (!count)
        return LB_PROXY_MORE;
    enum lb_proxy_fate fate = data[0] == 'P' ? read_v1(told, data, count) : read_v2(told, data, count);
    if (fate != LB_PROXY_DONE)
        memset(told, 0, sizeof *told);
    return fate;
}

/* --- writing -------------------------------------------------------------------------------------------------------- */

static int is_v4(const union lb_address *address)
{
    return address->any.sa_family == AF_INET ||
           (address->any.sa_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&address->v6.sin6_addr));
}

/* The family in which both ends can be said, and they in it; AF_UNSPEC if there is none. */
static int gather(struct ends *ends, const struct sockaddr_storage *from, const struct sockaddr_storage *to)
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
    struct ends ends;
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
    set_16(at + 1, length);
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
    set_32(value + 1, extra->verify);
    add_text(pen, SUBTYPE_SSL_VERSION, extra->tls_version);
    add_text(pen, SUBTYPE_SSL_CN, extra->common_name);
    set_16(value - 2, pen->used - start);
}

static void add_ends(struct pen *pen, int family, const struct ends *ends)
{
    uint32_t width = family == FAMILY_INET ? 4 : 16;
    uint8_t *block = reserve(pen, bytes_of_ends(family));
    if (!block)
        return;
    for (uint32_t i = 0; i < 2; i++) {
        memcpy(block + i * width, ends->ip[i], width);
        set_16(block + 2 * width + 2 * i, ends->port[i]);
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
    set_16(pen->out + 14, pen->used - START);
    set_32(value, checksum(pen->out, pen->used, pen->used - CRC_BYTES));
}

uint32_t lb_proxy_write_v2(uint8_t *out, uint32_t room, const struct sockaddr_storage *from, const struct sockaddr_storage *to,
                           const struct lb_proxy_extra *extra)
{
    struct pen pen = {out, room < LB_PROXY_MOST ? room : LB_PROXY_MOST, 0, 0};
    struct ends ends;
    int ours = gather(&ends, from, to);
    if (!reserve(&pen, START))
        return 0;
    memcpy(out, signature, sizeof signature);
    if (ours == AF_UNSPEC) { /* LOCAL, which everybody takes: PROXY of no family may be refused (2.2), and HAProxy does */
        memcpy(out + sizeof signature, (const uint8_t[]){VERSION | LOCAL, 0, 0, 0}, START - sizeof signature);
        return START;
    }
    int family = ours == AF_INET ? FAMILY_INET : FAMILY_INET6;
    out[12] = VERSION | PROXY;
    out[13] = (uint8_t)(family << 4 | STREAM);
    add_ends(&pen, family, &ends);
    if (extra)
        add_extra(&pen, extra);
    set_16(out + 14, pen.used - START);
    if (extra && extra->crc)
        add_checksum(&pen);
    return pen.full ? 0 : pen.used;
}
