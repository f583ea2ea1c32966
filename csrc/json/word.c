#include "word.h"

#include <string.h>

#include "utf8.h"

static void append(struct lb_json_word *word, const char *bytes, uint32_t count)
{
    if (word->length > LB_JSON_WORD || count > LB_JSON_WORD - word->length) {
        word->length = LB_JSON_WORD + 1;
        return;
    }
    memcpy(word->bytes + word->length, bytes, count);
    word->length += count;
}

static void append_code(struct lb_json_word *word, uint32_t code)
{
    char bytes[4];
    append(word, bytes, lb_utf8_write(bytes, code));
}

void lb_json_word_begin(struct lb_json_word *word, int kept)
{
    word->kept = kept != 0;
    word->length = 0;
    word->high = 0;
}

void lb_json_word_end(struct lb_json_word *word)
{
    if (word->high) /* no second half followed */
        append_code(word, word->high);
    word->high = 0;
}

void lb_json_keep(struct lb_json_word *word, const char *from, const char *to)
{
    if (!word->kept || from == to)
        return;
    lb_json_word_end(word);
    append(word, from, to - from > LB_JSON_WORD ? LB_JSON_WORD + 1 : (uint32_t)(to - from));
}

void lb_json_keep_code(struct lb_json_word *word, uint32_t code)
{
    int is_high = (code & 0xfc00) == 0xd800, is_low = (code & 0xfc00) == 0xdc00;
    if (!word->kept)
        return;
    if (is_low && word->high) {
        append_code(word, 0x10000 + ((word->high & UINT32_C(0x3ff)) << 10 | (code & 0x3ff)));
        word->high = 0;
        return;
    }
    lb_json_word_end(word);
    if (is_high)
        word->high = (uint16_t)code;
    else
        append_code(word, code);
}
