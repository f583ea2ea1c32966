/* libFuzzer's target for the reader of TLS ClientHellos. The first byte says what the rest is: a connection's bytes, or a hello's
 * body, around which the handshake's and the records' headers are put, so that the fuzzer need not find the lengths. */
#include <stdlib.h>
#include <string.h>

#include "l4/hello.h"

enum { MOST = 8192 };

static uint8_t flight[2 * LB_HELLO_ROOM], joined[2 * LB_HELLO_ROOM];

static void demand(int condition)
{
    if (!condition)
        abort();
}

static int is_of_a_name(char c)
{
    return c && strchr("abcdefghijklmnopqrstuvwxyz0123456789-_.", c) != NULL;
}

static void check_name(const struct lb_hello *hello)
{
    demand(hello->name_length < sizeof hello->name && strlen(hello->name) == hello->name_length);
    for (uint32_t i = 0; i < hello->name_length; i++)
        demand(is_of_a_name(hello->name[i]));
    demand(!hello->name_length || (hello->name[0] != '.' && hello->name[hello->name_length - 1] != '.'));
    demand(strstr(hello->name, "..") == NULL);
}

static void check_protocols(const struct lb_hello *hello)
{
    uint32_t at = 0, count = 0;
    demand(hello->alpn_length <= sizeof hello->alpn);
    for (; at < hello->alpn_length; count++) {
        uint32_t length = (uint8_t)hello->alpn[at++];
        demand(length && length <= hello->alpn_length - at);
        demand(lb_hello_offers(hello, hello->alpn + at, length));
        at += length;
    }
    demand(at == hello->alpn_length && count == hello->protocol_count && !lb_hello_offers(hello, "", 0));
}

static void check_same(const struct lb_hello *a, const struct lb_hello *b)
{
    demand(strcmp(a->name, b->name) == 0 && a->name_length == b->name_length && a->version == b->version);
    demand(a->alpn_length == b->alpn_length && a->protocol_count == b->protocol_count);
    demand(memcmp(a->alpn, b->alpn, a->alpn_length) == 0);
}

/* A copy of its own length on the heap, so that AddressSanitizer sees each read too far. */
static int read_exactly(struct lb_hello *hello, const uint8_t *bytes, uint32_t count)
{
    uint8_t *copy = calloc(1, count ? count : 1);
    demand(copy != NULL);
    if (count)
        memcpy(copy, bytes, count);
    int fate = lb_hello_read(hello, copy, count);
    free(copy);
    return fate;
}

/* However it is cut: more, more, ... and then, once and for all, what the whole says. */
static void check_prefixes(const struct lb_hello *whole, int fate, const uint8_t *bytes, uint32_t count)
{
    uint32_t step = 1 + count / 128;
    int before = LB_HELLO_MORE;
    for (uint32_t cut = 0; cut < count; cut += step) {
        struct lb_hello part;
        int now = lb_hello_read(&part, bytes, cut);
        demand(before == LB_HELLO_MORE ? now == LB_HELLO_MORE || now == fate : now == before);
        if (now == LB_HELLO_DONE)
            check_same(&part, whole);
        before = now;
    }
}

/* The handshake message in these records, which are known to be good: its bytes. */
static uint32_t join(const uint8_t *bytes)
{
    uint32_t at = 0, count = 0, whole = 4;
    while (count < whole) {
        uint32_t length = (uint32_t)bytes[at + 3] << 8 | bytes[at + 4];
        memcpy(joined + count, bytes + at + 5, length);
        count += length;
        at += 5 + length;
        if (count >= 4)
            whole = 4 + ((uint32_t)joined[1] << 16 | (uint32_t)joined[2] << 8 | joined[3]);
    }
    demand(count == whole);
    return count;
}

/* joined, in records of this size: bytes in flight; 0: it does not go in. */
static uint32_t cut_up(uint32_t count, uint32_t size)
{
    uint32_t used = 0;
    for (uint32_t at = 0; at < count; at += size) {
        uint32_t here = count - at < size ? count - at : size;
        if (used + 5 + here > LB_HELLO_ROOM)
            return 0;
        const uint8_t header[5] = {22, 3, (uint8_t)(size & 3), (uint8_t)(here >> 8), (uint8_t)here};
        memcpy(flight + used, header, sizeof header);
        memcpy(flight + used + sizeof header, joined + at, here);
        used += 5 + here;
    }
    return used;
}

static void check_other_records(const struct lb_hello *whole, const uint8_t *bytes)
{
    static const uint32_t sizes[] = {1, 2, 3, 5, 17, 100, 1000, 16384};
    uint32_t count = join(bytes);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct lb_hello again;
        uint32_t used = cut_up(count, sizes[i]);
        if (!used)
            continue;
        demand(lb_hello_read(&again, flight, used) == LB_HELLO_DONE);
        demand(lb_hello_read(&again, flight, used - 1) == LB_HELLO_MORE);
        demand(lb_hello_read(&again, flight, used + 1) == LB_HELLO_DONE);
        check_same(&again, whole);
    }
}

static void fuzz_flight(const uint8_t *bytes, uint32_t count)
{
    struct lb_hello whole;
    int fate = read_exactly(&whole, bytes, count);
    demand(fate == LB_HELLO_DONE || fate == LB_HELLO_MORE || fate == LB_HELLO_BAD);
    demand(fate != LB_HELLO_MORE || count < LB_HELLO_ROOM);
    check_prefixes(&whole, fate, bytes, count);
    if (fate != LB_HELLO_DONE)
        return;
    check_name(&whole);
    check_protocols(&whole);
    demand(!whole.version || whole.version >> 8 == 3);
    check_other_records(&whole, bytes);
}

static void fuzz_body(const uint8_t *body, uint32_t count, uint32_t size)
{
    static uint8_t own[2 * LB_HELLO_ROOM];
    const uint8_t header[4] = {1, (uint8_t)(count >> 16), (uint8_t)(count >> 8), (uint8_t)count};
    memcpy(joined, header, sizeof header);
    memcpy(joined + sizeof header, body, count);
    uint32_t used = cut_up(count + 4, size);
    memcpy(own, flight, used); /* flight is used again */
    if (used) {
        struct lb_hello whole;
        demand(lb_hello_read(&whole, own, used) != LB_HELLO_MORE);
        fuzz_flight(own, used);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > MOST)
        return 0;
    if (data[0] & 1)
        fuzz_body(data + 2, (uint32_t)size - 2, 1u + data[1] * 8u);
    else
        fuzz_flight(data + 2, (uint32_t)size - 2);
    return 0;
}
