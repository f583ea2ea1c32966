#include <arpa/inet.h>
#include <string.h>

#include "../core/net.h"
#include "proxy_protocol.h"
#include "proxy_wire.h"

static void log_end(struct sockaddr_storage *out, int family, const uint8_t *ip, uint16_t port)
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

static void log_ends(struct lb_proxy_told *told, int family, const struct lb_proxy_ends *ends)
{
    log_end(&told->from, family, ends->ip[0], ends->port[0]);
    log_end(&told->to, family, ends->ip[1], ends->port[1]);
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
    struct lb_proxy_ends ends = {0};
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
    log_ends(told, family, &ends);
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
    *tlv = (struct tlv){data[*at], *at + TLV_START, lb_proxy_get_16(data + *at + 1)};
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
        return tlv->length == CRC_BYTES && lb_proxy_get_32(data + tlv->at) == lb_proxy_checksum(data, told->bytes, tlv->at);
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
    struct lb_proxy_ends ends = {0};
    uint32_t width = family == V2_INET ? 4 : 16;
    if (protocol == V2_NO_PROTOCOL || (family != V2_INET && family != V2_INET6))
        return;
    for (uint32_t i = 0; i < 2; i++) {
        memcpy(ends.ip[i], block + i * width, width);
        ends.port[i] = (uint16_t)lb_proxy_get_16(block + 2 * width + 2 * i);
    }
    log_ends(told, family == V2_INET ? AF_INET : AF_INET6, &ends);
}

/* Can its length be right? Of what has not come, nothing is assumed. */
static int may_measure(const uint8_t *data, uint32_t count, int is_local)
{
    uint32_t least = count > 15 ? lb_proxy_get_16(data + 14) : (uint32_t)data[14] << 8;
    if (V2_START + least > LB_PROXY_MOST)
        return 0;
    return count < V2_START || is_local || least >= lb_proxy_bytes_of_ends(data[13] >> 4);
}

/* The first 16 bytes, as far as they have come. The family of LOCAL is ignored (2.2). */
static int may_start(const uint8_t *data, uint32_t count)
{
    if (memcmp(data, lb_proxy_signature, count < sizeof lb_proxy_signature ? count : sizeof lb_proxy_signature) != 0)
        return 0;
    if (count <= 12)
        return 1;
    int is_local = data[12] == (V2_VERSION | V2_LOCAL);
    if (!is_local && data[12] != (V2_VERSION | V2_PROXY))
        return 0;
    if (count > 13 && !is_local && (data[13] >> 4 > V2_UNIX || (data[13] & 15) > V2_DGRAM))
        return 0;
    return count <= 14 || may_measure(data, count, is_local);
}

static enum lb_proxy_fate read_v2(struct lb_proxy_told *told, const uint8_t *data, uint32_t count)
{
    if (!may_start(data, count))
        return LB_PROXY_BAD;
    if (count < V2_START || count - V2_START < lb_proxy_get_16(data + 14))
        return LB_PROXY_MORE;
    told->bytes = V2_START + lb_proxy_get_16(data + 14);
    if (data[12] == (V2_VERSION | V2_LOCAL))
        return LB_PROXY_DONE;
    int family = data[13] >> 4;
    read_block(told, data + V2_START, family, data[13] & 15);
    return read_tlvs(told, data, V2_START + lb_proxy_bytes_of_ends(family)) ? LB_PROXY_DONE : LB_PROXY_BAD;
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
