/* Base64 of gRPC-Web: cut anywhere, in pieces, and what is none. */
#include <string.h>

#include "edge.h"
#include "l7/base64.h"

/* Read in two pieces, each of which ends where memory does; how many bytes came, or -1. */
static int64_t read_cut(const char *text, size_t cut, char *out)
{
    struct lb_base64 base64 = {0};
    struct edge edge;
    size_t whole = strlen(text), parts[] = {cut, whole - cut};
    int64_t total = 0;
    for (int i = 0; i < 2; i++) {
        char *piece = (char *)copied_to_the_edge(&edge, text, parts[i]);
        int64_t count = lb_base64_read(&base64, piece, (uint32_t)parts[i]);
        if (count > 0)
            memcpy(out + total, piece, (size_t)count);
        leave_the_edge(&edge);
        if (count < 0)
            return -1;
        total += count;
        text += parts[i];
    }
    return base64.place ? -1 : total;
}

static void check_means(const char *text, const char *bytes)
{
    char out[64];
    for (size_t cut = 0; cut <= strlen(text); cut++)
        CHECK(read_cut(text, cut, out) == (int64_t)strlen(bytes) && memcmp(out, bytes, strlen(bytes)) == 0);
}

static void check_is_none(const char *text)
{
    char out[64];
    for (size_t cut = 0; cut <= strlen(text); cut++)
        CHECK(read_cut(text, cut, out) == -1);
}

static void test_texts_of_rfc_4648_10(void)
{
    check_means("", "");
    check_means("Zg==", "f");
    check_means("Zm8=", "fo");
    check_means("Zm9v", "foo");
    check_means("Zm9vYmFy", "foobar");
}

static void test_padding_within(void)
{
    check_means("Zg==Zm8=Zm9vZg==", "ffofoof");
}

static void test_what_is_no_base64(void)
{
    static const char *const none[] = {"Z", "Zg", "Zg=", "Zm8", "=", "Z===", "Zg=v", "Zm9v=", "Zm 9", "Zm9-", "Zm8=\n"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++)
        check_is_none(none[i]);
}

static void test_what_is_written_is_read(void)
{
    char bytes[80];
    for (uint32_t count = 0; count < sizeof bytes; count++) {
        struct edge edge;
        struct lb_base64 base64 = {0};
        uint32_t length = lb_base64_length(count);
        char *room = (char *)at_the_edge(&edge, length);
        for (uint32_t i = 0; i < count; i++)
            bytes[i] = (char)(i * 37 + count);
        memcpy(room + length - count, bytes, count);
        CHECK(lb_base64_write(room, count) == room + length);
        CHECK(lb_base64_read(&base64, room, length) == count && !base64.place);
        CHECK(memcmp(room, bytes, count) == 0);
        leave_the_edge(&edge);
    }
}

int main(void)
{
    RUN(test_texts_of_rfc_4648_10);
    RUN(test_padding_within);
    RUN(test_what_is_no_base64);
    RUN(test_what_is_written_is_read);
    return 0;
}
