/* libFuzzer's target for claims of JSON Web Tokens. The first byte says what the rest is: a token as it came, or a payload, which is put
 * into one. */
#include <stdlib.h>
#include <string.h>

#include "l7/jwt_claim.h"

enum { MOST = 4096, SHORTEST = 14 }; /* a payload {"sub":1} in base64url, between two dots */

static char token[2 * MOST + 16];

static void demand(int condition)
{
    if (!condition)
        abort();
}

/* A copy of its own length on the heap, so that AddressSanitizer sees each read too far. */
static int claim(const char *bytes, uint32_t count, struct lb_json_word *word)
{
    char *copy = malloc(count ? count : 1);
    demand(copy != NULL);
    if (count)
        memcpy(copy, bytes, count);
    int found = lb_jwt_claim(copy, count, "sub", 3, word);
    free(copy);
    return found;
}

static uint32_t dots_in(const char *bytes, uint32_t count)
{
    uint32_t dots = 0;
    for (uint32_t i = 0; i < count; i++)
        dots += bytes[i] == '.';
    return dots;
}

static uint32_t token_of(const uint8_t *payload, uint32_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t at = 0;
    token[at++] = '.';
    for (uint32_t i = 0; i < count; i += 3) {
        uint32_t left = count - i, bits = 0;
        for (uint32_t k = 0; k < 3; k++)
            bits = bits << 8 | (k < left ? payload[i + k] : 0u);
        for (uint32_t k = 0; k < (left < 3 ? left + 1 : 4); k++)
            token[at++] = digits[bits >> (18 - 6 * k) & 63];
    }
    token[at++] = '.';
    return at;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct lb_json_word word;
    if (size < 2 || size > MOST)
        return 0;
    uint32_t count = (uint32_t)size - 1;
    const char *bytes = (const char *)data + 1;
    if (data[0] & 1) {
        count = token_of(data + 1, count);
        bytes = token;
    }
    if (claim(bytes, count, &word) == 0) {
        demand(word.length <= LB_JSON_WORD);
        demand(count >= SHORTEST && dots_in(bytes, count) == 2); /* what stands before the first is not looked at */
    }
    return 0;
}
