#include "jwt_claim.h"

#include <string.h>

#include "../json/reader.h"
#include "base64.h"

enum { PIECE = 192 }; /* bytes that are decoded at a time: of whole groups of three */

/* Up to PIECE bytes of the text, which moves: how many; -1: it is not base64url. No padding stands there (RFC 7515 2). */
static int decode(char *to, const char **at, const char *end)
{
    uint32_t bits = 0;
    int count = 0, place = 0;
    for (; *at < end && count < PIECE; (*at)++) {
        int value = lb_base64_value(**at, "-_");
        if (value < 0)
            return -1;
        bits = bits << 6 | (uint32_t)value;
        if (place)
            to[count++] = (char)(bits >> (6 - 2 * place));
        place = (place + 1) & 3;
    }
    return place == 1 ? -1 : count; /* six bits alone are no byte */
}

/* Whether all is well so far; *found: the claim was there. */
static int take(struct lb_json *json, const char *at, const char *end, struct lb_json_word *word, int *found)
{
    for (;;) {
        switch (lb_json_read(json, &at, end)) {
        case LB_JSON_MORE:
            return 1;
        case LB_JSON_VALUE:
            if (json->kind != LB_JSON_STRING && json->kind != LB_JSON_NUMBER)
                return 0;
            *word = json->word;
            *found = 1;
            break;
        case LB_JSON_TEXT:
            break;
        case LB_JSON_TWICE:
        case LB_JSON_BAD:
        case LB_JSON_TOO_DEEP:
            return 0;
        }
    }
}

int lb_jwt_claim(const char *token, uint32_t length, const char *name, uint32_t name_length, struct lb_json_word *word)
{
    const char *stop = token + length, *at = length ? memchr(token, '.', length) : NULL;
    const char *end = at && ++at < stop ? memchr(at, '.', (size_t)(stop - at)) : NULL;
    if (!end || memchr(end + 1, '.', (size_t)(stop - end - 1)))
        return -1; /* of five parts it is encrypted (RFC 7516) */
    struct lb_json_path path = {.names = {name}, .lengths = {name_length}, .levels = 1};
    struct lb_json json;
    char piece[PIECE];
    int found = 0;
    lb_json_begin(&json, &path, 1);
    while (at < end) {
        int count = decode(piece, &at, end);
        if (count < 0 || !take(&json, piece, piece + count, word, &found))
            return -1;
    }
    return found && lb_json_is_whole(&json) && word->length <= LB_JSON_WORD ? 0 : -1;
}
