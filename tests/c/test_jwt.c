/* A claim of a token, which nobody verifies. */
#include <string.h>

#include "check.h"
#include "edge.h"
#include "l7/jwt_claim.h"

static const char head[] = "eyJhbGciOiJIUzI1NiJ9";

static char token[2048];

/* A token with this payload. */
static uint32_t token_of(const char *payload)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    size_t length = strlen(payload), at = sizeof(head) - 1;
    memcpy(token, head, at);
    token[at++] = '.';
    for (size_t i = 0; i < length; i += 3) {
        uint32_t left = (uint32_t)(length - i), bits = 0;
        for (uint32_t k = 0; k < 3; k++)
            bits = bits << 8 | (k < left ? (uint8_t)payload[i + k] : 0);
        for (uint32_t k = 0; k < (left < 3 ? left + 1 : 4); k++)
            token[at++] = digits[bits >> (18 - 6 * k) & 63];
    }
    memcpy(token + at, ".c2ln", 5);
    return (uint32_t)at + 5;
}

static int says(const char *payload, const char *name, const char *value)
{
    struct lb_json_word word;
    uint32_t length = token_of(payload);
    int found = lb_jwt_claim(token, length, name, (uint32_t)strlen(name), &word) == 0;
    return value ? found && word.length == strlen(value) && memcmp(word.bytes, value, word.length) == 0 : !found;
}

static void strings_and_numbers_are_read(void)
{
    CHECK(says("{\"sub\":\"user-1\",\"n\":42}", "sub", "user-1"));
    CHECK(says("{\"sub\":\"user-1\",\"n\":42}", "n", "42"));
    CHECK(says("{\"org\":{\"sub\":\"other\"},\"sub\":\"me\"}", "sub", "me"));
    CHECK(says("{\"s\\u0075b\":\"\\u006de\"}", "sub", "me"));
    CHECK(says("{\"sub\":1}", "sub", "1"));
    CHECK(says("{\"https://a.example/plan\":\"gold\"}", "https://a.example/plan", "gold"));
}

static void what_is_no_such_claim_is_none(void)
{
    CHECK(says("{\"org\":{\"sub\":\"other\"}}", "sub", NULL));
    CHECK(says("{\"sub\":[\"a\"]}", "sub", NULL));
    CHECK(says("{\"sub\":true}", "sub", NULL));
    CHECK(says("{\"sub\":\"a\",\"sub\":\"b\"}", "sub", NULL)); /* two readers may see two users */
    CHECK(says("{\"sub\":\"a\"", "sub", NULL));
    CHECK(says("{\"sub\":\"a\"}x", "sub", NULL));
    CHECK(says("", "sub", NULL));
    char longer[400] = "{\"sub\":\"";
    memset(longer + 8, 'x', 300);
    memcpy(longer + 308, "\"}", 3);
    CHECK(says(longer, "sub", NULL));
}

static void what_is_no_token_is_none(void)
{
    static const char *const bad[] = {"", ".", "..", "a.b", "a.b.c.d.e", "a.eyJz!.c", "a.e.c", "sk-abcdef", "a.eyJz=.c"};
    struct lb_json_word word;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK(lb_jwt_claim(bad[i], (uint32_t)strlen(bad[i]), "sub", 3, &word) < 0);
}

static void no_cut_reads_beyond_its_end(void)
{
    struct lb_json_word word;
    uint32_t length =
        token_of("{\"a\":\"" /* longer than what is decoded at a time */
                 "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
                 "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789"
                 "\",\"sub\":\"user-1\"}");
    for (uint32_t cut = 0; cut < length; cut++) {
        struct edge edge;
        const char *at = (const char *)copied_to_the_edge(&edge, token, cut);
        int found = lb_jwt_claim(at, cut, "sub", 3, &word) == 0;
        CHECK(found == (cut >= length - 4)); /* of the signature nothing is read */
        leave_the_edge(&edge);
    }
    CHECK(lb_jwt_claim(token, length, "sub", 3, &word) == 0 && word.length == 6);
}

int main(void)
{
    RUN(strings_and_numbers_are_read);
    RUN(what_is_no_such_claim_is_none);
    RUN(what_is_no_token_is_none);
    RUN(no_cut_reads_beyond_its_end);
    return 0;
}
