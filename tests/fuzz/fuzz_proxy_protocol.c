/* libFuzzer's target for the PROXY protocol. The first byte says what the rest is: a header as a peer sends it, or what to write
 * and to read back. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "l4/proxy_protocol.h"

static const struct lb_proxy_told nothing;

static void demand(int condition)
{
    if (!condition)
        abort();
}

static enum lb_proxy_fate read_whole(struct lb_proxy_told *told, const uint8_t *data, uint32_t count)
{
    enum lb_proxy_fate fate = lb_proxy_read(told, data, count);
    if (fate != LB_PROXY_DONE) {
        demand(memcmp(told, &nothing, sizeof nothing) == 0);
        return fate;
    }
    demand(told->bytes >= 15 && told->bytes <= count && told->bytes <= LB_PROXY_MOST);
    demand(told->authority_at + told->authority_length <= told->bytes);
    demand(told->alpn_at + told->alpn_length <= told->bytes);
    demand(told->from.ss_family == told->to.ss_family && told->tls <= 1);
    demand(told->from.ss_family == AF_UNSPEC || told->from.ss_family == AF_INET || told->from.ss_family == AF_INET6);
    return fate;
}

/* Each count in a memory of its own: AddressSanitizer sees a read behind what has come. */
static enum lb_proxy_fate read_prefix(const uint8_t *data, uint32_t count)
{
    struct lb_proxy_told told;
    uint8_t *copy = malloc(count ? count : 1);
    demand(copy != NULL);
    memcpy(copy, data, count);
    enum lb_proxy_fate fate = read_whole(&told, copy, count);
    free(copy);
    return fate;
}

/* First it may be a header, then it is one or is none; bytes that come later change nothing. */
static void fuzz_read(const uint8_t *data, uint32_t count)
{
    struct lb_proxy_told told, again;
    enum lb_proxy_fate fate = read_whole(&told, data, count), last = LB_PROXY_MORE;
    uint32_t cuts = fate == LB_PROXY_DONE ? told.bytes : count;
    for (uint32_t cut = 0; cut < cuts; cut = cut < 256 ? cut + 1 : cut + 61) {
        enum lb_proxy_fate here = read_prefix(data, cut);
        demand(last == LB_PROXY_MORE || here == last);
        demand(here != LB_PROXY_DONE);
        demand(here != LB_PROXY_BAD || fate == LB_PROXY_BAD);
        last = here;
    }
    demand(fate != LB_PROXY_MORE || count < LB_PROXY_MOST);
    if (fate != LB_PROXY_DONE)
        return;
    demand(lb_proxy_read(&again, data, told.bytes) == LB_PROXY_DONE);
    demand(memcmp(&told, &again, sizeof told) == 0);
}

/* --- written, then read --------------------------------------------------------------------------------------------- */

struct source {
    const uint8_t *at;
    uint32_t left;
};

static uint32_t number(struct source *source)
{
    if (!source->left)
        return 0;
    source->left--;
    return *source->at++;
}

static const char *text(struct source *source, uint32_t most, uint32_t *length)
{
    const char *start = (const char *)source->at;
    *length = most < source->left ? most : source->left;
    source->at += *length;
    source->left -= *length;
    return start;
}

static void make_end(struct source *source, struct sockaddr_storage *end)
{
    uint32_t length, family = number(source);
    struct sockaddr_in v4 = {.sin_family = AF_INET, .sin_port = (in_port_t)(number(source) << 8 | number(source))};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6, .sin6_port = v4.sin_port};
    const char *ip = text(source, 16, &length);
    memcpy(&v6.sin6_addr, ip, length);
    memcpy(&v4.sin_addr, ip, length < 4 ? length : 4);
    if (family & 4)
        memcpy(&v6.sin6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
    memset(end, 0, sizeof *end);
    if ((family & 3) == 1)
        memcpy(end, &v4, sizeof v4);
    else if (family & 3)
        memcpy(end, &v6, sizeof v6);
}

/* An end as IPv6, IPv4 mapped into it. */
static struct sockaddr_in6 widened(const struct sockaddr_storage *end)
{
    struct sockaddr_in6 v6 = {0};
    struct sockaddr_in v4;
    memcpy(&v4, end, sizeof v4);
    if (end->ss_family == AF_INET6)
        memcpy(&v6, end, sizeof v6);
    if (end->ss_family != AF_INET)
        return v6;
    v6.sin6_family = AF_INET6;
    v6.sin6_port = v4.sin_port;
    memcpy(&v6.sin6_addr, "\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
    memcpy(v6.sin6_addr.s6_addr + 12, &v4.sin_addr, 4);
    return v6;
}

static int can_be_v4(const struct sockaddr_storage *end)
{
    struct sockaddr_in6 v6 = widened(end);
    return v6.sin6_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr);
}

static void check_ends(const struct lb_proxy_told *told, const struct sockaddr_storage *from, const struct sockaddr_storage *to)
{
    int v4 = can_be_v4(from) && can_be_v4(to), v6 = from->ss_family == AF_INET6 && to->ss_family == AF_INET6;
    struct sockaddr_in6 said[2] = {widened(&told->from), widened(&told->to)}, given[2] = {widened(from), widened(to)};
    demand(told->from.ss_family == (v4 ? AF_INET : v6 ? AF_INET6 : AF_UNSPEC));
    demand(!(v4 || v6) || memcmp(said, given, sizeof said) == 0);
}

static void check_span(const uint8_t *out, uint32_t at, uint32_t length, const char *given, uint32_t given_length)
{
    demand(length == given_length && memcmp(out + at, given, length) == 0);
}

static void fuzz_write(const uint8_t *data, uint32_t count)
{
    static uint8_t out[LB_PROXY_MOST + 64];
    char version[16] = "", name[256] = "";
    struct source source = {data, count};
    struct sockaddr_storage from, to;
    struct lb_proxy_told told;
    uint32_t length;
    make_end(&source, &from);
    make_end(&source, &to);
    uint32_t written = lb_proxy_write_v1((char *)out, &from, &to);
    demand(written <= LB_PROXY_LINE && lb_proxy_read(&told, out, written) == LB_PROXY_DONE && told.bytes == written);
    check_ends(&told, &from, &to);

    uint32_t flags = number(&source), room = number(&source) << 8 | number(&source);
    struct lb_proxy_extra extra = {.tls = flags & 1, .crc = flags >> 1 & 1, .verify = flags};
    memcpy(version, text(&source, flags >> 2 & 15, &length), sizeof version - 1 < length ? sizeof version - 1 : length);
    memcpy(name, text(&source, number(&source), &length), length);
    extra.tls_version = flags & 64 ? version : NULL;
    extra.common_name = flags & 128 ? name : NULL;
    extra.alpn = text(&source, number(&source), &extra.alpn_length);
    extra.authority = text(&source, source.left, &extra.authority_length);
    memset(out, 0xa5, sizeof out);
    room = room < sizeof out ? room : sizeof out;
    written = lb_proxy_write_v2(out, room, &from, &to, flags == 255 ? NULL : &extra);
    demand(written <= room);
    for (uint32_t i = room; i < sizeof out; i++)
        demand(out[i] == 0xa5);
    if (!written)
        return;
    demand(lb_proxy_read(&told, out, written) == LB_PROXY_DONE && told.bytes == written);
    check_ends(&told, &from, &to);
    if (flags == 255 || told.from.ss_family == AF_UNSPEC)
        return;
    check_span(out, told.authority_at, told.authority_length, extra.authority, extra.authority_length);
    check_span(out, told.alpn_at, told.alpn_length, extra.alpn, extra.alpn_length);
    demand(told.tls == extra.tls);
    if (extra.crc) {
        out[16 + room % 12] ^= (uint8_t)(1u << (flags & 7)); /* one bit of the ends: the checksum tells */
        demand(lb_proxy_read(&told, out, written) == LB_PROXY_BAD);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!size || size > 8192)
        return 0;
    if (data[0] & 1)
        fuzz_write(data + 1, (uint32_t)size - 1);
    else
        fuzz_read(data + 1, (uint32_t)size - 1);
    return 0;
}
